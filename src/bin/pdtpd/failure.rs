//! Why the server does not run: what to tell the user, and the exit code that scripts see.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pdtp::hub::HubError;
use pdtp::server::ServerError;

/// See the module. The codes are documented in `--help`.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const LISTEN: u8 = 3;
const DIRECTORY: u8 = 4;
const STATE: u8 = 5;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    pub(crate) fn other(what: &str, error: &dyn fmt::Display) -> Self {
        Self { code: OTHER, message: format!("{what}: {error}") }
    }

    /// The repository cannot be opened, although the directories were there a moment ago.
    pub(crate) fn hub(dir: &Path, state: &Option<PathBuf>, error: &HubError) -> Self {
        match (state, error) {
            (Some(state), HubError::Io(_)) => Self {
                code: STATE,
                message: format!(
                    "state directory {}: {error}; use another one with --state, or repair or remove this one \
                     (all that is lost are hashes, which are computed again)",
                    state.display()
                ),
            },
            _ => Self { code: DIRECTORY, message: format!("cannot serve {}: {error}", dir.display()) },
        }
    }

    /// The catalogue in a state directory cannot be read, or is not sound.
    pub(crate) fn catalogue(state: &Path, why: &dyn fmt::Display) -> Self {
        Self { code: STATE, message: format!("catalogue in {}: {why}", state.display()) }
    }

    pub(crate) fn server(error: ServerError) -> Self {
        let ServerError::Listen { address, source } = &error else {
            return Self { code: OTHER, message: error.to_string() };
        };
        let port = address.port();
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "port {port} is taken by another program; stop that, or choose another with --listen ADDR:PORT"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("you may not use port {port}; choose one from 1024 up with --listen ADDR:PORT")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("{} is not an address of this machine; correct --listen ADDR:PORT", address.ip())
            }
            _ => "choose another address with --listen ADDR:PORT".to_owned(),
        };
        Self { code: LISTEN, message: format!("{error}: {advice}") }
    }
}

/// The directory to be served must be one that can be read.
pub(crate) fn check_directory(dir: &Path) -> Result<(), Failure> {
    let advice = match std::fs::read_dir(dir) {
        Ok(_) => return Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            io::ErrorKind::NotADirectory => "it is not a directory".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "it cannot be read by this user; change its permissions, or run as another user".to_owned()
            }
            _ => error.to_string(),
        },
    };
    Err(Failure { code: DIRECTORY, message: format!("cannot serve {}: {advice}", dir.display()) })
}

/// The state directory must be there, or such that it can be made.
pub(crate) fn check_state(state: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(state).map_err(|error| Failure {
        code: STATE,
        message: format!(
            "state directory {} cannot be made: {error}; choose another with --state DIR",
            state.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_explained() {
        let address = "127.0.0.1:6086".parse().unwrap();
        let failure =
            Failure::server(ServerError::Listen { address, source: io::ErrorKind::AddrInUse.into() });
        assert_eq!(failure.code, LISTEN);
        assert!(failure.message.contains("port 6086 is taken"), "{failure}");
    }

    #[test]
    fn a_file_is_not_a_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(check_directory(file.path()).unwrap_err().code, DIRECTORY);
        assert_eq!(check_directory(Path::new("/nonexistent/x")).unwrap_err().code, DIRECTORY);
        assert_eq!(check_state(&file.path().join("x")).unwrap_err().code, STATE);
    }
}
