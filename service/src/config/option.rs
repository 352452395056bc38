/// One option of a service: the row that `--help` prints and parsing follows.
///
/// The flag is the variable's name in lower case with dashes: `HTTP_ADDR` is `--http-addr`.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    pub(crate) variable: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) default: Option<&'static str>,
    pub(crate) meaning: &'static str,
    pub(crate) group: &'static str,
    pub(crate) secret: bool,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Flag, environment, env file; takes a value.
    Setting,
    /// Flag alone, takes a value.
    Flag,
    /// Flag alone, without a value.
    Switch,
    /// Another program's setting; given, it is a mistake with this advice.
    Foreign(&'static str),
}

impl Kind {
    /// Whether the environment and the env file are asked.
    pub(crate) fn is_variable(self) -> bool {
        matches!(self, Self::Setting | Self::Foreign(_))
    }
}

/// Headings of `--help`, in the order in which they are printed.
pub mod group {
    pub const SERVICE: &str = "Service";
    pub const KAFKA: &str = "Kafka";
    pub const TOPICS: &str = "Topics";
    pub const HTTP: &str = "HTTP";
    pub const DATABASE: &str = "Database";
    pub const LOGS: &str = "Logs and shutdown";
    pub const COMMAND: &str = "Command";
    pub(crate) const ORDER: [&str; 7] = [SERVICE, KAFKA, TOPICS, HTTP, DATABASE, LOGS, COMMAND];
}

impl Opt {
    /// An option with a default; the default is text like any value a user writes.
    pub const fn new(
        variable: &'static str,
        default: &'static str,
        group: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            variable,
            aliases: &[],
            default: Some(default),
            meaning,
            group,
            secret: false,
            kind: Kind::Setting,
        }
    }

    /// An option that may stay unset.
    pub const fn unset(variable: &'static str, group: &'static str, meaning: &'static str) -> Self {
        Self {
            variable,
            aliases: &[],
            default: None,
            meaning,
            group,
            secret: false,
            kind: Kind::Setting,
        }
    }

    /// A setting that this program does not have and somebody may take it to have: better refused
    /// than ignored. `instead` completes "VARIABLE …".
    pub const fn foreign(variable: &'static str, instead: &'static str) -> Self {
        Self {
            variable,
            aliases: &[],
            default: None,
            meaning: "",
            group: group::SERVICE,
            secret: true,
            kind: Kind::Foreign(instead),
        }
    }

    /// A flag of a subcommand that takes a value: `--limit 20`. Not read from the environment.
    pub const fn flag(
        variable: &'static str,
        default: Option<&'static str>,
        meaning: &'static str,
    ) -> Self {
        Self {
            variable,
            aliases: &[],
            default,
            meaning,
            group: group::COMMAND,
            secret: false,
            kind: Kind::Flag,
        }
    }

    /// A flag of a subcommand that takes no value: `--force`. Read with `get::<bool>`.
    pub const fn switch(variable: &'static str, meaning: &'static str) -> Self {
        Self {
            variable,
            aliases: &[],
            default: Some("false"),
            meaning,
            group: group::COMMAND,
            secret: false,
            kind: Kind::Switch,
        }
    }

    /// Other names of the same variable, as flag and in the environment.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Never echo the value, not even in a mistake.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The variable that names this option.
    pub const fn variable(&self) -> &'static str {
        self.variable
    }

    /// Whether its value may lie in a file that `<VARIABLE>_FILE` names, as container engines mount secrets.
    pub(crate) fn may_lie_in_a_file(&self) -> bool {
        self.secret && self.kind == Kind::Setting
    }

    /// Names of variables that name such a file.
    pub(crate) fn file_names(&self) -> impl Iterator<Item = String> + use<> {
        let names = self.may_lie_in_a_file().then(|| self.names());
        names.into_iter().flatten().map(file_name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.variable).chain(self.aliases.iter().copied())
    }
}

/// `DB_PASSWORD` → `DB_PASSWORD_FILE`.
fn file_name(variable: &str) -> String {
    format!("{variable}_FILE")
}

/// `HTTP_ADDR` → `--http-addr`.
pub(crate) fn flag_of(variable: &str) -> String {
    let mut flag = String::from("--");
    flag.extend(variable.chars().map(|c| match c {
        '_' => '-',
        c => c.to_ascii_lowercase(),
    }));
    flag
}
