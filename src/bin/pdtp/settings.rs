//! The user's own defaults: a TOML file with options of the library, which are the same as those of `-O`.

use std::path::{Path, PathBuf};

use pdtp::client::{Config, Error, ErrorKind};
use toml::{Table, Value};

/// Sets what the file says: `named` if there is one, else the usual file, if that exists.
pub(crate) fn apply(config: &mut Config, named: Option<&Path>) -> Result<(), Error> {
    let Some(path) = named.map(Path::to_owned).or_else(|| directory().map(|dir| dir.join("pdtp.toml")))
    else {
        return Ok(());
    };
    let fail = |what: &str| Error::new(ErrorKind::Option, format!("{}: {what}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) => set_all(config, &text).map_err(|what| fail(&what)),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fail(&error.to_string())),
    }
}

fn set_all(config: &mut Config, text: &str) -> Result<(), String> {
    let table: Table =
        text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    for (name, value) in table {
        let value = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(yes) => if yes { "yes" } else { "no" }.to_owned(),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                return Err(format!("{name}: a text, a number, or true or false is expected"));
            }
        };
        config.set(&name, &value).map_err(|error| error.message)?;
    }
    Ok(())
}

/// Where a user's settings and the trust file are; `None` where there is no such place.
#[cfg(not(windows))]
pub(crate) fn directory() -> Option<PathBuf> {
    // XDG Base Directory Specification: a relative path counts as none.
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("pdtp"))
}

/// Where a user's settings and the trust file are; `None` where there is no such place.
#[cfg(windows)]
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os("APPDATA").map(|config| PathBuf::from(config).join("pdtp"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdtp::client::OPTIONS;

    fn read(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        set_all(&mut config, text).map(|()| config)
    }

    #[test]
    fn values_are_written_as_toml_has_them() {
        let config =
            read("limit_down = \"2M\"\nlimit-up = 5000\nallow_private = true\ngrace = 1.5\n").unwrap();
        for (name, value) in [("limit_down", "2097152"), ("limit_up", "5000"), ("allow_private", "yes")] {
            assert_eq!(config.get(name).unwrap(), value, "{name}");
        }
        assert_eq!(config.grace.as_millis(), 1500);
        assert!(read("").is_ok());
    }

    #[test]
    fn every_option_can_be_set_to_its_preset() {
        for option in OPTIONS {
            let preset = Config::default().get(option.name).unwrap();
            read(&format!("{} = {preset:?}", option.name)).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, why) in [
            ("limt_down = 1", "limit_down"),
            ("limit_down = \"much\"", "limit_down"),
            ("limit_down = [1]", "a text, a number"),
            ("[limits]\ndown = 1", "limits"),
            ("limit_down = ", "line 1"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
