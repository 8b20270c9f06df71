# SPDX-License-Identifier: MIT OR Apache-2.0
# For NixOS, with systemd in the initrd:
#
#   imports = [ .../packaging/nix/module.nix ];
#   boot.initrd.systemd.enable = true;
#   services.vfio-early = {
#     enable = true;
#     configuration = "claim 01:00.0 id=10de:1e04";
#   };
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.vfio-early;
  # A mistake stops the build and not the boot. Whether the claims fit is only known on the machine.
  file =
    pkgs.runCommand "vfio-early.conf"
      {
        text = cfg.configuration;
        passAsFile = [ "text" ];
      }
      ''
        mkdir -p root/etc root/sys root/proc
        cp "$textPath" root/etc/vfio-early.conf
        status=0
        ${lib.getExe cfg.package} --root root check || status=$?
        [ "$status" != 2 ] || exit 1
        cp "$textPath" $out
      '';
in
{
  options.services.vfio-early = {
    enable = lib.mkEnableOption "vfio-early, which binds PCI devices to vfio-pci before any other driver can";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.pkgsStatic.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.pkgsStatic.callPackage ./package.nix { }";
      description = "The program. It must be static, because it runs in the initrd.";
    };
    configuration = lib.mkOption {
      type = lib.types.lines;
      default = "";
      example = "claim 01:00.0 id=10de:1e04";
      description = "The content of /etc/vfio-early.conf. See vfio-early.conf(5).";
    };
    modules = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "vfio-pci" ];
      description = "The drivers that the claims bind devices to, for the initrd.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.boot.initrd.systemd.enable;
        message = "services.vfio-early needs boot.initrd.systemd.enable = true";
      }
    ];
    environment.systemPackages = [ cfg.package ];
    environment.etc."vfio-early.conf".source = file;
    # For devices that appear later.
    services.udev.packages = [ cfg.package ];

    boot.initrd = {
      availableKernelModules = cfg.modules;
      services.udev.packages = [ cfg.package ];
      systemd = {
        storePaths = [ (lib.getExe cfg.package) ];
        contents."/etc/vfio-early.conf".source = file;
        # As systemd/vfio-early.service, which says why.
        services.vfio-early = {
          description = "Give the configured PCI devices to vfio-pci";
          unitConfig.DefaultDependencies = false;
          wantedBy = [ "sysinit.target" ];
          before = [
            "systemd-modules-load.service"
            "systemd-udevd.service"
            "systemd-udev-trigger.service"
            "sysinit.target"
          ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            ExecStart = "${lib.getExe cfg.package} -q claim";
            TimeoutStartSec = "10min";
            KillMode = "process";
          };
        };
      };
    };
  };
}
