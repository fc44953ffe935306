//! What a publisher signs: the name of a file, and everything that its content can be told by. A few lines of text,
//! of which there is exactly one spelling, because a signature is over bytes.

use std::fmt;

use super::{Date, Layout, PieceSize};
use crate::wire::{Digest, UrlPath, limits};

/// One version of one file, as a publisher describes it (docs/protocol.md, section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where the file is on the server. What was signed for one name cannot be served under another.
    pub path: UrlPath,
    /// How it is cut, which says also how long it is.
    pub layout: Layout,
    /// Root of the hash tree over its pieces.
    pub root: Digest,
    /// SHA-256 of the whole file.
    pub sha256: Digest,
    /// When it was signed. Of two manifests of one path the later is the newer version.
    pub date: Date,
}

/// Why a text is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More than [`limits::MAX_MANIFEST`] bytes.
    #[error("manifest too long")]
    TooLong,
    /// A later version of the format.
    #[error("manifest of a version that this program does not know")]
    Version,
    /// The line that should begin with this is missing, or in another place.
    #[error("manifest without its line {0:?}")]
    Line(&'static str),
    /// The line that begins with this makes no sense.
    #[error("manifest with a bad value of {0:?}")]
    Value(&'static str),
    /// Something follows the last line, or a line is spelled in another way than the one it has.
    #[error("manifest that is not in its one spelling")]
    Spelling,
}

impl Manifest {
    /// Reads exactly what [`Manifest`] displays: anything else is an error, so that one manifest has one signature.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > limits::MAX_MANIFEST {
            return Err(ManifestError::TooLong);
        }
        let mut lines = text.split('\n');
        let mut value = |name: &'static str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(": ")).ok_or(ManifestError::Line(name))
        };
        if value("PDTP-Manifest")? != "1" {
            return Err(ManifestError::Version);
        }
        let path = UrlPath::parse(value("Path")?).map_err(|_| ManifestError::Value("Path"))?;
        let size = value("Size")?.parse().map_err(|_| ManifestError::Value("Size"))?;
        let piece = value("Piece-Size")?.parse().ok().and_then(PieceSize::new);
        let piece = piece.ok_or(ManifestError::Value("Piece-Size"))?;
        let layout = Layout::new(size, piece).ok_or(ManifestError::Value("Size"))?;
        let root = value("Root")?.parse().map_err(|_| ManifestError::Value("Root"))?;
        let sha256 = value("SHA-256")?.parse().map_err(|_| ManifestError::Value("SHA-256"))?;
        let date = value("Date")?.parse().map_err(|_| ManifestError::Value("Date"))?;
        let manifest = Self { path, layout, root, sha256, date };
        if manifest.to_string() == text { Ok(manifest) } else { Err(ManifestError::Spelling) }
    }
}

/// The bytes that are signed.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, layout, root, sha256, date } = self;
        let (size, piece) = (layout.size(), layout.piece_size().bytes());
        write!(f, "PDTP-Manifest: 1\nPath: {path}\nSize: {size}\nPiece-Size: {piece}\n")?;
        write!(f, "Root: {root}\nSHA-256: {sha256}\nDate: {date}\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::content) fn example() -> Manifest {
        Manifest {
            path: UrlPath::parse("/dir/file name").unwrap(),
            layout: Layout::new(1_234_567, PieceSize::new(65_536).unwrap()).unwrap(),
            root: Digest([0xaa; 32]),
            sha256: Digest([0xbb; 32]),
            date: "2026-11-22T10:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let (aa, bb) = ("aa".repeat(32), "bb".repeat(32));
        let text = format!(
            "PDTP-Manifest: 1\nPath: /dir/file%20name\nSize: 1234567\nPiece-Size: 65536\nRoot: {aa}\nSHA-256: {bb}\n\
             Date: 2026-11-22T10:00:00Z\n"
        );
        assert_eq!(example().to_string(), text);
        assert_eq!(Manifest::parse(&text), Ok(example()));
    }

    #[test]
    fn nothing_else_is_a_manifest() {
        let text = example().to_string();
        for (from, to, error) in [
            ("Manifest: 1", "Manifest: 2", ManifestError::Version),
            ("PDTP-Manifest", "PDTP-manifest", ManifestError::Line("PDTP-Manifest")),
            ("Path: /dir/file%20name", "Path: /dir/file name", ManifestError::Spelling),
            ("Path: /dir", "Path: //dir", ManifestError::Spelling),
            ("Path: /", "Path: ", ManifestError::Value("Path")),
            ("Path: ", "Path:", ManifestError::Line("Path")),
            ("Size: 1234567", "Size: +1234567", ManifestError::Spelling),
            ("Size: 1234567", "Size: 01234567", ManifestError::Spelling),
            ("Size: 1234567", "Size: -1", ManifestError::Value("Size")),
            ("Size: 1234567", "Size: 18446744073709551615", ManifestError::Value("Size")),
            ("Size: 1234567", "Size: 18446744073709551616", ManifestError::Value("Size")),
            ("65536", "65537", ManifestError::Value("Piece-Size")),
            ("65536", "8388608", ManifestError::Value("Piece-Size")),
            ("Root: aa", "Root: AA", ManifestError::Value("Root")),
            ("SHA-256: bb", "SHA-256: b", ManifestError::Value("SHA-256")),
            ("10:00:00Z", "10:00:00", ManifestError::Value("Date")),
            ("00Z\n", "00Z\r\n", ManifestError::Value("Date")),
            ("00Z\n", "00Z", ManifestError::Spelling),
            ("00Z\n", "00Z\n\n", ManifestError::Spelling),
            ("00Z\n", "00Z\nDate: 2026-11-22T10:00:00Z\n", ManifestError::Spelling),
            ("Size", "Extra: 1\nSize", ManifestError::Line("Size")),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text, "{from}");
            assert_eq!(Manifest::parse(&wrong), Err(error), "{from} -> {to}");
        }
        assert_eq!(Manifest::parse(""), Err(ManifestError::Line("PDTP-Manifest")));
        let long = "x".repeat(limits::MAX_MANIFEST + 1);
        assert_eq!(Manifest::parse(&long), Err(ManifestError::TooLong));
    }

    #[test]
    fn the_longest_path_fits() {
        let path = UrlPath::parse(&"/a".repeat(2048)).unwrap();
        assert_eq!(path.as_str().len(), 4096);
        let largest = Layout::new(1 << 44, PieceSize::new(4 << 20).unwrap()).unwrap();
        let manifest = Manifest { path, layout: largest, ..example() };
        let text = manifest.to_string();
        assert!(text.len() <= limits::MAX_MANIFEST, "{}", text.len());
        assert_eq!(Manifest::parse(&text), Ok(manifest));
    }
}
