//! Files that only their owner may read, replaced whole or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

/// Makes a directory that only its owner may look into. One that exists is left as it is.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn private_directory(path: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .with_context(|| format!("failed to make the directory {}", path.display()))
}

/// Writes a file that only its owner may read. Who reads it at that moment sees the old one or the
/// new one.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let told = || format!("failed to write {}", path.display());
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).with_context(told)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(told)?;
    fs::rename(&draft, path).with_context(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a/b");
        private_directory(&directory).expect("made");
        let file = directory.join("secret.json");
        write_private(&file, "1").expect("written");
        write_private(&file, "2").expect("replaced");
        assert_eq!(fs::read_to_string(&file).expect("read"), "2");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&directory)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 1);
    }
}
