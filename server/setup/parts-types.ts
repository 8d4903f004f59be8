// What set-up provides; types only. All paths are absolute.

export interface Parts {
  cacheDir: string
  qemu: string
  qemuVersion: string
  vhostDeviceVsock: string
  umoci: string
  skopeo: string
  mksquashfs: string
  mkfsExt4: string
  setpriv: string
  kernel: string
  kernelVersion: string
  initramfs: string
  buildkitVersion: string
  buildctl: string
  buildkitd: string
  /** CNCF distribution. */
  registry: string
  registryVersion: string
  /** Folder with initdb, pg_ctl and postgres. */
  postgresBin: string
  builder: {
    /** OCI layout and tag, as umoci and skopeo name it: `<dir>:latest`. */
    image: string
    /** Of the image's manifest. */
    digest: string
    /** Read-only root disk (squashfs). */
    disk: string
  }
}
