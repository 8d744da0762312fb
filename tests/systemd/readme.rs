//! What the README has people paste.

use std::fs;
use std::path::Path;

/// The blocks of shell under "Install" in the README: the binary and the units, a configuration,
/// the start, and the way back.
pub(crate) fn install_blocks() -> [String; 4] {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let section = readme.split("\n## Install\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let blocks: Vec<String> =
        blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect();
    blocks.try_into().expect("four blocks of shell under Install")
}
