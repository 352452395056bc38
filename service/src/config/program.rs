use std::path::{Path, PathBuf};

use super::help;
use super::option::{Kind, Opt, flag_of};
use super::source::{self, Origin, Pairs};
use super::values::{Mistakes, Row, Values};

/// A service as its command line shows it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of the binary, and of the folder whose `.env` is read.
    pub name: &'static str,
    /// One sentence for the head of `--help`.
    pub about: &'static str,
    /// Options of the service and of all its subcommands.
    pub options: Vec<Opt>,
    /// Subcommands; none given means: run the service.
    pub commands: Vec<Command>,
}

/// A subcommand, such as `dlt show TOPIC PARTITION OFFSET`.
#[derive(Clone, Debug)]
pub struct Command {
    /// Words that name it: `dlt show`.
    pub name: &'static str,
    /// What follows the name in `--help`: `TOPIC PARTITION OFFSET`; empty for none.
    pub arguments: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Flags of its own, next to the service's options.
    pub options: Vec<Opt>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// Print this and exit with status 0.
    Print(String),
    /// Go on with these values.
    Invocation(Invocation),
}

/// A subcommand (or none), its arguments, and every option's text.
#[derive(Debug)]
pub struct Invocation {
    pub command: Option<&'static str>,
    pub arguments: Vec<String>,
    pub values: Values,
    /// The env file that was read, if any.
    pub env_file: Option<PathBuf>,
}

impl Program {
    /// Reads flags, the environment and the env file. Opens nothing but the env file.
    ///
    /// `arguments` are without the program's name; `folder` is where relative env files lie.
    /// Unknown flags, flags without their value and superfluous arguments are noted as mistakes
    /// and come out of [`Values::finish`] together with those found by parsing the values.
    pub fn parse(
        &self,
        arguments: impl IntoIterator<Item = String>,
        environment: impl Iterator<Item = (String, String)>,
        folder: &Path,
    ) -> Parsed {
        let mut mistakes = Mistakes::default();
        let arguments: Vec<String> = arguments.into_iter().collect();
        if arguments.iter().any(|a| a == "--help" || a == "-h") {
            return Parsed::Print(help::render(self));
        }
        if arguments.iter().any(|a| a == "--version" || a == "-V") {
            return Parsed::Print(format!("{} {}\n", self.name, version()));
        }

        let (flags, words) = self.split(&arguments, &mut mistakes);
        let (command, rest) = self.command_of(&words);
        if command.is_none_or(|c| c.arguments.is_empty()) {
            for word in &rest {
                mistakes.add(word, "is neither an option nor a command; see --help");
            }
        }
        if let (None, false) = (command, flags.is_empty()) {
            for option in self.commands.iter().flat_map(|c| &c.options) {
                if flags.contains_key(option.variable) {
                    mistakes.add(
                        &flag_of(option.variable),
                        "belongs to a subcommand; see --help",
                    );
                }
            }
        }

        let mut options = self.options.clone();
        options.extend(command.iter().flat_map(|c| c.options.iter().copied()));
        let vars = source::environment(&options, environment);
        let named = flags.get(ENV_FILE).map(String::as_str);
        let (file, env_file) = source::env_file(self.name, named, folder, &mut mistakes);

        let sources: [(&Pairs, Origin); 3] = [
            (&flags, Origin::Flag),
            (&vars, Origin::Environment),
            (&file, Origin::EnvFile),
        ];
        let rows = options
            .into_iter()
            .map(|option| {
                for (pairs, origin) in sources {
                    if origin != Origin::Flag && !option.kind.is_variable() {
                        continue;
                    }
                    if let Some(text) = source::look_up(pairs, &option, folder, &mut mistakes) {
                        if let Kind::Foreign(instead) = option.kind {
                            mistakes.add(option.variable, instead);
                            break;
                        }
                        return Row {
                            option,
                            text: Some(text),
                            origin,
                        };
                    }
                }
                Row {
                    option,
                    text: None,
                    origin: Origin::Default,
                }
            })
            .collect();
        Parsed::Invocation(Invocation {
            command: command.map(|c| c.name),
            arguments: rest,
            values: Values { rows, mistakes },
            env_file,
        })
    }

    /// The text of the service's `.env.example`: every variable with its meaning and default, as
    /// comments, so that a copy changes nothing until a line is uncommented.
    pub fn env_example(&self) -> String {
        help::env_example(self)
    }

    /// Flags by variable name, and the words that are no flags.
    fn split(&self, arguments: &[String], mistakes: &mut Mistakes) -> (Pairs, Vec<String>) {
        let mut flags = Pairs::new();
        let mut words = Vec::new();
        let mut arguments = arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                words.extend(arguments.cloned());
                break;
            }
            if !argument.starts_with("--") {
                words.push(argument.clone());
                continue;
            }
            let (flag, inline) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let Some((variable, kind)) = self.flag(flag) else {
                mistakes.add(flag, "is no option of this program; see --help");
                continue;
            };
            let value = match (kind, inline) {
                (Kind::Switch, None) => "true".to_owned(),
                (_, Some(value)) => value,
                (_, None) => match arguments.next_if(|next| !next.starts_with("--")) {
                    Some(value) => value.clone(),
                    None => {
                        mistakes.add(flag, "needs a value");
                        continue;
                    }
                },
            };
            if flags.insert(variable, value).is_some() {
                mistakes.add(flag, "is given twice");
            }
        }
        (flags, words)
    }

    /// The variable that a flag stands for.
    fn flag(&self, flag: &str) -> Option<(String, Kind)> {
        if flag == "--env-file" {
            return Some((ENV_FILE.to_owned(), Kind::Flag));
        }
        let commands = self.commands.iter().flat_map(|c| &c.options);
        self.options
            .iter()
            .chain(commands)
            .flat_map(|option| {
                let names = option.names().map(str::to_owned);
                let names = names.chain(option.file_names());
                names.map(|name| (name, option.kind))
            })
            .find(|(name, _)| flag_of(name) == flag)
    }

    /// The longest command that the words begin with, and the words after it.
    fn command_of(&self, words: &[String]) -> (Option<&Command>, Vec<String>) {
        let command = self
            .commands
            .iter()
            .filter(|command| {
                let mut given = words.iter();
                command
                    .name
                    .split(' ')
                    .all(|word| given.next().is_some_and(|w| w == word))
            })
            .max_by_key(|command| command.name.len());
        let used = command.map_or(0, |command| command.name.split(' ').count());
        (command, words[used..].to_vec())
    }
}

const ENV_FILE: &str = "--env-file";

/// The version, and the commit where the build was told it by `BUILD_COMMIT`, as `scripts/static` does.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("BUILD_COMMIT").filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} (commit {commit})"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::super::option::group;
    use super::*;

    fn program() -> Program {
        Program {
            name: "cart-svc",
            about: "Keeps carts.",
            options: vec![
                Opt::new(
                    "HTTP_ADDR",
                    "127.0.0.1:5003",
                    group::HTTP,
                    "Where to listen.",
                ),
                Opt::new(
                    "KAFKA_BOOTSTRAP_SERVERS",
                    "localhost:9092",
                    group::KAFKA,
                    "Brokers.",
                )
                .aliases(&["KAFKA_BROKERS"]),
                Opt::new("REQUEST_TIMEOUT", "5s", group::HTTP, "Longest wait."),
                Opt::unset("DB_PASSWORD", group::DATABASE, "Password.").secret(),
                Opt::new("POOL", "4", group::DATABASE, "Connections."),
            ],
            commands: vec![
                Command {
                    name: "dlt",
                    arguments: "",
                    about: "Dead letters.",
                    options: vec![],
                },
                Command {
                    name: "dlt show",
                    arguments: "TOPIC",
                    about: "One.",
                    options: vec![Opt::switch("FORCE", "Once more.")],
                },
            ],
        }
    }

    fn invoke(args: &[&str], vars: &[(&str, &str)], folder: &Path) -> Invocation {
        let args = args.iter().map(|s| (*s).to_owned());
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        match program().parse(args, vars, folder) {
            Parsed::Invocation(invocation) => invocation,
            Parsed::Print(text) => panic!("printed {text}"),
        }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_default() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cart-svc")).unwrap();
        std::fs::write(
            folder.path().join("cart-svc/.env"),
            "KAFKA_BROKERS=file:1\nREQUEST_TIMEOUT=2s\nHTTP_ADDR=1.1.1.1:1\n",
        )
        .unwrap();
        std::fs::write(folder.path().join(".env"), "POOL=9\n").unwrap();
        let mut values = invoke(
            &["--http-addr=3.3.3.3:3"],
            &[
                ("HTTP_ADDR", "2.2.2.2:2"),
                ("REQUEST_TIMEOUT", "500ms"),
                ("DB_PASSWORD", ""),
            ],
            folder.path(),
        )
        .values;
        assert_eq!(
            values.get::<Vec<SocketAddr>>("HTTP_ADDR"),
            ["3.3.3.3:3".parse().unwrap()]
        );
        assert_eq!(
            values.get::<Duration>("REQUEST_TIMEOUT"),
            Duration::from_millis(500)
        );
        assert_eq!(values.get::<String>("KAFKA_BOOTSTRAP_SERVERS"), "file:1");
        assert_eq!(
            values.get::<usize>("POOL"),
            4,
            "only the first env file counts"
        );
        assert_eq!(values.find::<String>("DB_PASSWORD"), None, "empty is unset");
        values.finish(()).unwrap();
    }

    #[test]
    fn all_mistakes_come_at_once_and_name_their_variable() {
        let folder = tempfile::tempdir().unwrap();
        let mut values = invoke(
            &["--pool", "many", "--colour", "red", "--request-timeout"],
            &[
                ("HTTP_ADDR", "nowhere"),
                ("KAFKA_BROKERS", "a:1"),
                ("KAFKA_BOOTSTRAP_SERVERS", "b:1"),
                ("DB_PASSWORD", "hunter2"),
            ],
            folder.path(),
        )
        .values;
        values.get::<usize>("POOL");
        values.get::<Vec<SocketAddr>>("HTTP_ADDR");
        values.find::<u16>("DB_PASSWORD");
        let text = values.finish(()).unwrap_err().to_string();
        for part in [
            "POOL must be a whole number",
            "not \"many\" (from --pool)",
            "--colour is no option",
            "--request-timeout needs a value",
            "HTTP_ADDR must be an IP address",
            "KAFKA_BOOTSTRAP_SERVERS is given twice",
            "DB_PASSWORD must be",
        ] {
            assert!(text.contains(part), "{part:?} missing in\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_named_env_file_must_exist_and_its_lines_are_not_echoed() {
        let folder = tempfile::tempdir().unwrap();
        let missing = invoke(&["--env-file", "none.env"], &[], folder.path()).values;
        let text = missing.finish(()).unwrap_err().to_string();
        assert!(
            text.contains("--env-file") && text.contains("none.env"),
            "{text}"
        );

        std::fs::write(folder.path().join("bad.env"), "DB_PASSWORD='hunter2\n").unwrap();
        let bad = invoke(&["--env-file=bad.env"], &[], folder.path()).values;
        let text = bad.finish(()).unwrap_err().to_string();
        assert!(
            text.contains("--env-file") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_secret_may_lie_in_a_file_and_is_never_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "from a file\n").unwrap();
        std::fs::write(folder.path().join("other"), "another").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let password = |args: &[&str], vars: &[(&str, &str)]| {
            let mut values = invoke(args, vars, folder.path()).values;
            let found: Option<String> = values.find("DB_PASSWORD");
            let mistakes = values.finish(()).err().map(|mistakes| mistakes.to_string());
            (found, mistakes)
        };
        let from_file = Some("from a file".to_owned());
        for (args, vars) in [
            (&[][..], &[("DB_PASSWORD_FILE", "password")][..]),
            (
                &["--db-password-file", "password"],
                &[("DB_PASSWORD", "less")],
            ),
            (
                &[],
                &[
                    ("DB_PASSWORD_FILE", "password"),
                    ("DB_PASSWORD", "from a file"),
                ],
            ),
        ] {
            assert_eq!(password(args, vars), (from_file.clone(), None));
        }
        let both = [("DB_PASSWORD_FILE", "other"), ("DB_PASSWORD", "hunter2")];
        let (_, mistake) = password(&[], &both);
        let mistake = mistake.unwrap();
        assert!(
            mistake.contains("as DB_PASSWORD and as DB_PASSWORD_FILE"),
            "{mistake}"
        );
        assert!(
            !mistake.contains("hunter2") && !mistake.contains("another"),
            "{mistake}"
        );
        for (file, said) in [("missing", "cannot be read"), ("empty", "is empty")] {
            let (_, mistake) = password(&[], &[("DB_PASSWORD_FILE", file)]);
            let mistake = mistake.unwrap();
            assert!(
                mistake.contains("DB_PASSWORD_FILE names") && mistake.contains(said),
                "{mistake}"
            );
        }
        // What is no secret is not looked for in files.
        let (_, mistake) = password(&["--pool-file", "password"], &[]);
        assert!(mistake.unwrap().contains("--pool-file"));
    }

    #[test]
    fn a_setting_of_other_programs_is_refused_and_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let mut program = program();
        program.options.push(Opt::foreign("GROUP", "is X's; set Y"));
        for (flags, vars, wrong) in [
            (vec![], vec![("GROUP", "g")], true),
            (vec!["--group=g"], vec![], true),
            (vec![], vec![], false),
        ] {
            let flags = flags.into_iter().map(str::to_owned);
            let vars = vars.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            let Parsed::Invocation(read) = program.parse(flags, vars, folder.path()) else {
                panic!("printed");
            };
            match read.values.finish(()) {
                Ok(()) => assert!(!wrong),
                Err(text) => assert!(text.to_string().contains("GROUP is X's; set Y"), "{text}"),
            }
        }
        assert!(!program.env_example().contains("GROUP"));
    }

    #[test]
    fn subcommands_take_arguments_and_flags() {
        let folder = tempfile::tempdir().unwrap();
        let mut show = invoke(
            &["dlt", "show", "orders-dlt", "--force"],
            &[],
            folder.path(),
        );
        assert_eq!(show.command, Some("dlt show"));
        assert_eq!(show.arguments, ["orders-dlt"]);
        assert!(show.values.get::<bool>("FORCE"));
        show.values.finish(()).unwrap();

        let stray = invoke(&["start", "--force"], &[], folder.path()).values;
        let text = stray.finish(()).unwrap_err().to_string();
        assert!(
            text.contains("start is neither") && text.contains("--force belongs"),
            "{text}"
        );
    }

    #[test]
    fn values_carry_over_to_another_program() {
        let folder = tempfile::tempdir().unwrap();
        let mut values =
            invoke(&["--pool=9"], &[("REQUEST_TIMEOUT", "soon")], folder.path()).values;
        let other = Program {
            options: vec![
                Opt::new("POOL", "1", group::DATABASE, ""),
                Opt::new("HTTP_ADDR", "127.0.0.1:1", group::HTTP, ""),
                Opt::new("REQUEST_TIMEOUT", "1s", group::HTTP, ""),
                Opt::new("COLOUR", "red", group::SERVICE, ""),
            ],
            ..program()
        };
        let mut carried = values.for_program(&other, &[("HTTP_ADDR", "127.0.0.1:2".to_owned())]);
        assert_eq!(carried.get::<u32>("POOL"), 9);
        assert_eq!(carried.get::<String>("HTTP_ADDR"), "127.0.0.1:2");
        assert_eq!(carried.get::<String>("COLOUR"), "red");
        carried.get::<Duration>("REQUEST_TIMEOUT");
        values.get::<Duration>("REQUEST_TIMEOUT");
        values.adopt_mistakes(carried);
        let mistakes = values.finish(()).unwrap_err();
        assert_eq!(
            mistakes.iter().count(),
            1,
            "the same mistake is one: {mistakes}"
        );
    }

    #[test]
    fn help_lists_every_option_with_flag_variable_and_default() {
        let folder = tempfile::tempdir().unwrap();
        let Parsed::Print(help) =
            program().parse(["--help".to_owned()], std::iter::empty(), folder.path())
        else {
            panic!("no help");
        };
        for part in [
            "--http-addr",
            "HTTP_ADDR",
            "127.0.0.1:5003",
            "KAFKA_BROKERS",
            "--db-password",
            "dlt show TOPIC",
            "--force",
            "--env-file",
        ] {
            assert!(help.contains(part), "{part:?} missing in\n{help}");
        }
    }
}
