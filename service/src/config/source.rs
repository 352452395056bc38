use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::option::Opt;
use super::values::Mistakes;

/// Where a value was found, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Flag,
    Environment,
    EnvFile,
    Default,
}

/// Names to values of one source. Empty values count as not given: compose files set variables
/// to nothing for "use the default".
pub(crate) type Pairs = HashMap<String, String>;

/// The value of `option` in one source. Name and alias with different values is a mistake.
pub(crate) fn look_up(pairs: &Pairs, option: &Opt, mistakes: &mut Mistakes) -> Option<String> {
    let mut found: Option<(&str, &String)> = None;
    for name in option.names() {
        let Some(value) = pairs.get(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        match found {
            Some((first, other)) if other != value => {
                mistakes.add(
                    option.variable,
                    format!("is given twice, as {first} and as {name}, with different values"),
                );
            }
            Some(_) => {}
            None => found = Some((name, value)),
        }
    }
    found.map(|(_, value)| value.clone())
}

/// The environment, restricted to names that some option has.
pub(crate) fn environment(options: &[Opt], vars: impl Iterator<Item = (String, String)>) -> Pairs {
    let known: Vec<&str> = options
        .iter()
        .filter(|option| option.kind.is_variable())
        .flat_map(Opt::names)
        .collect();
    vars.filter(|(name, _)| known.contains(&name.as_str()))
        .collect()
}

/// Reads the first env file there is: the one named by `--env-file` (which must exist), else
/// `./<service>/.env`, else `./.env`. The process environment is not touched.
pub(crate) fn env_file(
    service: &str,
    named: Option<&str>,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> (Pairs, Option<PathBuf>) {
    let path = match named {
        Some(named) => folder.join(named),
        None => {
            let candidates = [folder.join(service).join(".env"), folder.join(".env")];
            match candidates.into_iter().find(|path| path.is_file()) {
                Some(path) => path,
                None => return (Pairs::new(), None),
            }
        }
    };
    let mut pairs = Pairs::new();
    match dotenvy::from_path_iter(&path) {
        Err(error) => mistakes.add("--env-file", format!("{}: {error}", path.display())),
        Ok(lines) => {
            for line in lines {
                match line {
                    Ok((name, value)) => {
                        pairs.insert(name, value);
                    }
                    // dotenvy's parse error quotes the line, which may hold a password.
                    Err(dotenvy::Error::LineParse(_, at)) => mistakes.add(
                        "--env-file",
                        format!(
                            "{}: a line is not NAME=value (at byte {at} of it)",
                            path.display()
                        ),
                    ),
                    Err(error) => {
                        mistakes.add("--env-file", format!("{}: {error}", path.display()));
                        break;
                    }
                }
            }
        }
    }
    (pairs, Some(path))
}
