use std::collections::{HashMap, HashSet};
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

/// Most bytes of a file that holds a value: a password or a URL, not a mistaken path to something large.
const MAX_VALUE_BYTES: u64 = 64 << 10;

/// The value of `option` in one source: the text itself, or of a secret the text of the file that
/// `<VARIABLE>_FILE` names (below `folder` where it is relative). Two of its names with different
/// values are a mistake.
pub(crate) fn look_up(
    pairs: &Pairs,
    option: &Opt,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> Option<String> {
    let given = |name: &str| pairs.get(name).filter(|value| !value.is_empty());
    let texts = option
        .names()
        .filter_map(|name| Some((name.to_owned(), given(name)?.clone())));
    let mut candidates: Vec<(String, String)> = texts.collect();
    for name in option.file_names() {
        let Some(path) = given(&name) else {
            continue;
        };
        match value_in(&folder.join(path)) {
            Ok(value) => candidates.push((name, value)),
            Err(problem) => mistakes.add(&name, format!("names {path}: {problem}")),
        }
    }
    let mut found = candidates.into_iter();
    let (first, value) = found.next()?;
    for (name, other) in found {
        if other != value {
            mistakes.add(
                option.variable,
                format!("is given twice, as {first} and as {name}, with different values"),
            );
        }
    }
    Some(value)
}

/// The text of a file without the line end that editors and `echo` put behind it.
fn value_in(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_VALUE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("it cannot be read ({error})"))?;
    if text.len() as u64 > MAX_VALUE_BYTES {
        return Err(format!("it is larger than {MAX_VALUE_BYTES} bytes"));
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(value.to_owned())
}

/// The environment, restricted to names that some option has.
pub(crate) fn environment(options: &[Opt], vars: impl Iterator<Item = (String, String)>) -> Pairs {
    let variables = || options.iter().filter(|option| option.kind.is_variable());
    let names = variables().flat_map(Opt::names).map(str::to_owned);
    let known: HashSet<String> = names.chain(variables().flat_map(Opt::file_names)).collect();
    vars.filter(|(name, _)| known.contains(name)).collect()
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
