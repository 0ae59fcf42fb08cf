"""The disk images of the virtual machines: minimal systems from distribution packages, each made once and cached.

The root file system is a plain ext4 image that the distribution's kernel mounts without an initial RAM disk, which
saves a third of the boot under emulation. The disk is therefore of a kind whose driver is built into that kernel.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from wiretune_agent.command import missing_program, run
from wiretune_agent.errors import AgentError

PACKAGES = (
    "systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,iperf3,wireguard-tools,ethtool,kmod,procps,util-linux"
)


@dataclass(frozen=True)
class Distribution:
    """What the machines run. `disks`: the bus that the kernel reads without a module, as QEMU's options name it."""

    suite: str
    components: str
    kernel: str
    keyring: str
    disks: str

    @property
    def seed_device(self) -> str:
        """The second disk, as the machine sees it."""
        return "/dev/nvme1n1" if self.disks == "nvme" else "/dev/sdb"

    @property
    def root_device(self) -> str:
        """The first disk, as the machine sees it."""
        return "/dev/nvme0n1" if self.disks == "nvme" else "/dev/sda"


def _debian(suite: str) -> Distribution:
    return Distribution(suite, "main", "linux-image-cloud-amd64", "debian-archive-keyring", "nvme")


def _ubuntu(suite: str) -> Distribution:
    return Distribution(suite, "main,universe", "linux-image-virtual", "ubuntu-archive-keyring", "ide")


DISTRIBUTIONS = {
    "debian-12": _debian("bookworm"),
    "debian-13": _debian("trixie"),
    "ubuntu-22.04": _ubuntu("jammy"),
    "ubuntu-24.04": _ubuntu("noble"),
}
KEYRINGS = Path("/usr/share/keyrings")
IMAGE_MIB = 900
BUILD_TIMEOUT_S = 900
CONTAINED = ("unshare", "--fork", "--pid", "--kill-child", "--mount", "--mount-proc")
"""Whatever a program starts and mounts goes with it (unshare(1)): a build that is broken off leaves nothing running."""
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "systemd-timesyncd.service", "getty@tty1.service", "serial-getty@ttyS0.service",
    "systemd-pstore.service", "systemd-logind.service", "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service", "systemd-random-seed.service", "dbus.socket",
    "systemd-journal-flush.service", "systemd-networkd.service", "systemd-udevd.service",
    "systemd-udev-trigger.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "modprobe@drm.service", "modprobe@fuse.service",
    "modprobe@configfs.service", "modprobe@loop.service", "modprobe@dm_mod.service", "systemd-sysusers.service",
    "kmod-static-nodes.service", "systemd-tmpfiles-clean.timer",
)  # fmt: skip
"""What a machine of one afternoon does not need; each costs a second or more of an emulated boot."""
SEED_UNIT = """\
[Unit]
Description=Identity of this machine, from its second disk
DefaultDependencies=no
After=systemd-remount-fs.service systemd-modules-load.service
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/tar -xf {seed} -C /
ExecStart=/bin/sh /etc/wiretune-vm.sh
[Install]
WantedBy=sysinit.target
"""
MODULES = "virtio_net\nvmxnet3\ne1000e\ntun\nveth\n"
"""NICs and devices; a kernel without one of them goes on."""


def recipe_hash() -> str:
    """Part of an image's name in the cache: another recipe is another image."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def ensure(cache_folder: Path, distribution: str) -> tuple[Path, Path, bool]:
    """Kernel, disk image, and whether they had to be made. Raises AgentError when a program or package is missing.

    One build at a time: a second testbed waits for the first one's image.
    """
    folder = cache_folder / f"{distribution}-{recipe_hash()}"
    kernel, disk = folder / "vmlinuz", folder / "disk.img"
    cache_folder.mkdir(parents=True, exist_ok=True)
    with (cache_folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kernel.exists() and disk.exists():
            return kernel, disk, False
        for leftover in cache_folder.glob("*.building"):  # of a build that was broken off
            shutil.rmtree(leftover, ignore_errors=True)
        _build(folder, DISTRIBUTIONS[distribution])
    return kernel, disk, True


def _build(folder: Path, distribution: Distribution) -> None:
    if not (keyring := KEYRINGS / f"{distribution.keyring}.gpg").exists():
        raise AgentError(
            f"the image of {distribution.suite} cannot be built: {keyring} is missing, which tells its packages from"
            " forged ones",
            hint=f"install the package {distribution.keyring}, where this machine's distribution has it",
        )
    for program in ("mmdebstrap", "mke2fs", "unshare"):
        if shutil.which(program) is None:
            raise missing_program(program)
    building = folder.parent / f"{folder.name}.building"
    root = building / "root"
    building.mkdir()
    try:
        _bootstrap(root, distribution)
        _customise(root, distribution)
        next((root / "boot").glob("vmlinuz-*")).rename(building / "vmlinuz")
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(root), str(building / "disk.img"),
             f"{IMAGE_MIB}M"], timeout_s=BUILD_TIMEOUT_S)  # fmt: skip
        shutil.rmtree(root)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _bootstrap(root: Path, distribution: Distribution) -> None:
    omitted = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")]
    argv = [*CONTAINED, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *omitted]
    argv += [f"--include={PACKAGES},{distribution.kernel}", f"--components={distribution.components}"]
    argv += ['--aptopt=Acquire::Retries "3"', distribution.suite]
    try:
        run([*argv, str(root)], timeout_s=BUILD_TIMEOUT_S)
    except AgentError as error:
        raise AgentError(
            f"the image cannot be built: {error.message[-400:]}",
            hint="the package mirror must be reachable; apt-get update shows whether it is",
            detail=error.detail,
        ) from error


def _customise(root: Path, distribution: Distribution) -> None:
    for folder in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for path in [*(root / "boot").glob("initrd*"), *(root / "etc/ssh").glob("ssh_host_*")]:
        path.unlink()
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / "wiretune-seed.service").write_text(SEED_UNIT.format(seed=distribution.seed_device))
    wanted = units / "sysinit.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "wiretune-seed.service").symlink_to("/etc/systemd/system/wiretune-seed.service")
    (root / "etc/modules-load.d/wiretune.conf").write_text(MODULES)
    (root / "etc/fstab").write_text("tmpfs /tmp tmpfs mode=1777 0 0\n")
    (root / "etc/ssh/sshd_config.d/wiretune.conf").write_text("UseDNS no\nUsePAM no\n")
    subprocess.run(
        ["chroot", str(root), "systemctl", "set-default", "multi-user.target"], capture_output=True, check=True
    )
