//! Every input that fuzzing has left behind, again: on stable Rust, without libFuzzer.

use std::path::Path;

#[test]
fn the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in wirelane_fuzz_targets::TARGETS {
        let entries = std::fs::read_dir(folder.join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                panic!("{name} does not hold for {}", path.display());
            }
            count += 1;
        }
        assert!(count > 0, "the corpus of {name} is empty");
    }
}
