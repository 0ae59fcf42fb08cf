//! Which implementation runs.

#[cfg(target_arch = "x86_64")]
use crate::ifma::Ifma;
#[cfg(ipsec_mb)]
use crate::ipsec_mb::IpsecMb;
use std::fmt;
use std::str::FromStr;

/// An implementation of the AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// AVX-512 IFMA, several packets at a time.
    Ifma,
    /// AVX-512, one packet at a time.
    Avx512,
    /// AVX2.
    Avx2,
    /// SSE4.
    Sse,
    /// A portable crate, on any processor.
    Portable,
}

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendChoice {
    /// The fastest that this processor runs.
    #[default]
    Auto,
    /// This one or an error.
    Force(Backend),
}

/// A backend was forced that this processor or this build does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub Backend);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AEAD backend {} is not available on this processor or in this build", self.0)
    }
}

impl std::error::Error for Unsupported {}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ifma => "ifma",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Sse => "sse",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "auto" => Self::Auto,
            "ifma" => Self::Force(Backend::Ifma),
            "avx512" => Self::Force(Backend::Avx512),
            "avx2" => Self::Force(Backend::Avx2),
            "sse" => Self::Force(Backend::Sse),
            "portable" => Self::Force(Backend::Portable),
            _ => return Err(format!("unknown AEAD backend {word:?}: auto, ifma, avx512, avx2, sse or portable")),
        })
    }
}

/// The backends that run here, best first. Never empty: the portable one is always there. It stands before AVX2 and SSE
/// because ring's own assembly is faster than ipsec-mb's there: 1.75 against 1.41 and 1.01 GB/s at 1,408 bytes
/// (`cargo bench -p wirelane-crypto --bench aead`, AMD EPYC with AVX-512, all forced).
pub fn available() -> Vec<Backend> {
    let all = [Backend::Ifma, Backend::Avx512, Backend::Portable, Backend::Avx2, Backend::Sse];
    all.into_iter().filter(|backend| Implementation::new(*backend).is_ok()).collect()
}

/// The backend's code and its scratch memory.
pub(crate) enum Implementation {
    #[cfg(target_arch = "x86_64")]
    Ifma(Ifma),
    #[cfg(ipsec_mb)]
    IpsecMb(IpsecMb),
    Portable,
}

impl Implementation {
    pub(crate) fn new(backend: Backend) -> Result<Self, Unsupported> {
        if backend == Backend::Portable {
            return Ok(Self::Portable);
        }
        #[cfg(target_arch = "x86_64")]
        if backend == Backend::Ifma {
            return Ifma::new().map(Self::Ifma).ok_or(Unsupported(backend));
        }
        #[cfg(ipsec_mb)]
        if let Some(library) = IpsecMb::new(backend) {
            return Ok(Self::IpsecMb(library));
        }
        Err(Unsupported(backend))
    }
}
