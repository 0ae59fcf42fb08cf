//! Key files. A key is read, handed to the protocol core and wiped; it is never shown.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wirelane_protocol::KeyParseError;
use zeroize::Zeroizing;

/// Longest key file that is read; 32 bytes are 44 characters of base64.
const MAX_KEY_FILE_BYTES: u64 = 256;

/// Reads a base64 key from a file that nobody but its owner can read.
///
/// The error names the file and what to do; it never holds any of the content.
pub fn read_secret_file<K>(path: &Path, parse: fn(&str) -> Result<K, KeyParseError>) -> Result<K, String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("cannot read the key file {name}: {error}"))?;
    let mode = file.metadata().map_err(|error| format!("cannot examine the key file {name}: {error}"))?.mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "the key file {name} is accessible to others (mode {:04o}): run chmod 600 {name}",
            mode & 0o7777
        ));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES as usize + 1));
    file.take(MAX_KEY_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the key file {name}: {error}"))?;
    parse(text.trim()).map_err(|why| format!("the content of {name} is not a key: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wirelane_protocol::PresharedKey;

    use super::*;

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let path = std::env::temp_dir().join(format!("wirelane-key-{}", std::process::id()));
        std::fs::write(&path, format!("{}\n", *PresharedKey::from([7; 32]).to_base64())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refusal = read_secret_file(&path, PresharedKey::from_base64).unwrap_err();
        assert!(refusal.contains("mode 0644") && refusal.contains("chmod 600"), "{refusal}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_secret_file(&path, PresharedKey::from_base64), Ok(PresharedKey::from([7; 32])));
        std::fs::write(&path, "short").unwrap();
        assert!(!read_secret_file(&path, PresharedKey::from_base64).unwrap_err().contains("short"));
        std::fs::remove_file(&path).unwrap();
    }
}
