# SPDX-License-Identifier: MIT OR Apache-2.0
# Evaluates the module with nixpkgs' library alone, in place of NixOS (tests/nix.sh): what the initrd gets.
{ lib }:

let
  anything = lib.mkOption {
    type = lib.types.anything;
    default = { };
  };
  lists = lib.mkOption {
    type = lib.types.listOf lib.types.anything;
    default = [ ];
  };
  machine =
    settings:
    (lib.evalModules {
      modules = [
        ./module.nix
        {
          options = {
            assertions = lists;
            environment.systemPackages = lists;
            environment.etc = anything;
            services.udev.packages = lists;
            boot.initrd = {
              availableKernelModules = lists;
              services.udev.packages = lists;
              systemd = {
                enable = lib.mkEnableOption "systemd";
                storePaths = lists;
                contents = anything;
                services = anything;
              };
            };
          };
          config._module.args.pkgs = {
            pkgsStatic.callPackage = _file: _arguments: {
              type = "derivation";
              name = "vfio-early";
              outPath = "/nix/store/vfio-early";
              meta.mainProgram = "vfio-early";
            };
            runCommand = name: _environment: _script: "/nix/store/${name}";
          };
        }
        settings
      ];
    }).config;
  on = machine {
    boot.initrd.systemd.enable = true;
    services.vfio-early = {
      enable = true;
      configuration = "claim 01:00.0 id=10de:1e04";
    };
  };
  off = machine { };
  scripted = machine { services.vfio-early.enable = true; };
in
{
  start = on.boot.initrd.systemd.services.vfio-early.serviceConfig.ExecStart;
  inherit (on.boot.initrd.systemd) storePaths contents;
  modules = on.boot.initrd.availableKernelModules;
  broken = map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) scripted.assertions);
  fine = lib.all (assertion: assertion.assertion) on.assertions && off.assertions == [ ];
}
