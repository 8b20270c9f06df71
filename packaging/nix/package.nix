# SPDX-License-Identifier: MIT OR Apache-2.0
# The program, static: pkgsStatic.callPackage ./package.nix { }
{
  lib,
  rustPlatform,
  installShellFiles,
  src ? ../..,
}:

let
  cargo = lib.importTOML (src + "/Cargo.toml");
in
rustPlatform.buildRustPackage {
  pname = cargo.package.name;
  inherit (cargo.package) version;
  inherit src;
  cargoLock.lockFile = src + "/Cargo.lock";

  nativeBuildInputs = [ installShellFiles ];
  # They want tools of other distributions, and machines to boot.
  doCheck = false;

  postInstall = ''
    installManPage man/*
    installShellCompletion --bash completions/vfio-early --zsh completions/_vfio-early --fish completions/vfio-early.fish
    install -D -m 644 udev/60-vfio-early.rules $out/lib/udev/rules.d/60-vfio-early.rules
    substituteInPlace $out/lib/udev/rules.d/60-vfio-early.rules --replace-fail /usr/bin/vfio-early $out/bin/vfio-early
  '';

  meta = {
    inherit (cargo.package) description homepage;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "vfio-early";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
