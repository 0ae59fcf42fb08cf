//! Compiles the shim over intel-ipsec-mb and links the library statically, where header and library are found.
//! Elsewhere the crate builds without it (cfg `ipsec_mb` is absent).

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    println!("cargo::rerun-if-changed=src/ipsec_mb.c");
    println!("cargo::rerun-if-env-changed=WIRELANE_NO_IPSEC_MB");
    println!("cargo::rerun-if-env-changed=IPSEC_MB_LIB_DIR");
    let is_linux_x86_64 = env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64")
        && env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux");
    if !is_linux_x86_64 || env::var_os("WIRELANE_NO_IPSEC_MB").is_some() {
        return;
    }
    let Some(library_dir) = library_dir() else {
        println!("cargo::warning=libIPSec_MB.a not found (Debian: libipsec-mb-dev): building the portable AEAD only");
        return;
    };
    // try_compile fails without the header, or with one older than the shim accepts.
    match cc::Build::new().file("src/ipsec_mb.c").opt_level(3).warnings(true).try_compile("wirelane_ipsec_mb") {
        Ok(()) => {
            println!("cargo::rustc-cfg=ipsec_mb");
            println!("cargo::rustc-link-search=native={}", library_dir.display());
            println!("cargo::rustc-link-lib=static:-bundle=IPSec_MB");
        }
        Err(error) => println!("cargo::warning=building the portable AEAD only: {error}"),
    }
}

fn library_dir() -> Option<PathBuf> {
    let given = env::var_os("IPSEC_MB_LIB_DIR").map(PathBuf::from);
    let usual = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from);
    given.into_iter().chain(usual).find(|dir| Path::new(dir).join("libIPSec_MB.a").exists())
}
