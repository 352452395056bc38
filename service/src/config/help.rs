use std::fmt::Write;

use super::option::{Kind, Opt, flag_of, group};
use super::program::Program;

/// Width of a line of help, for terminals of the usual 100 columns.
const WIDTH: usize = 100;

pub(crate) fn render(program: &Program) -> String {
    let mut text = format!("{}\n\nUsage: {} [OPTIONS]", program.about, program.name);
    if !program.commands.is_empty() {
        text.push_str(" [COMMAND]");
    }
    text.push_str(
        "\n\nEvery option is a flag (--name value or --name=value) or a variable; flags win over \
         the\nenvironment, which wins over the env file.\n",
    );
    if !program.commands.is_empty() {
        text.push_str("\nCommands (none: run the service):\n");
        for command in &program.commands {
            let _ = writeln!(text, "  {} {}", command.name, command.arguments);
            wrapped(&mut text, command.about);
            for option in &command.options {
                row(&mut text, option);
            }
        }
    }
    for heading in group::ORDER {
        let mut rows = program
            .options
            .iter()
            .filter(|o| o.group == heading)
            .peekable();
        if rows.peek().is_some() {
            let _ = writeln!(text, "\n{heading}:");
            rows.for_each(|option| row(&mut text, option));
        }
    }
    let _ = write!(
        text,
        "\nGeneral:\n  --env-file FILE\n      File of NAME=value lines. \
         [default: ./{}/.env, then ./.env]\n  --help\n      This text.\n  --version\n      \
         The version.\n",
        program.name
    );
    text
}

pub(crate) fn env_example(program: &Program) -> String {
    let mut text = format!(
        "# Configuration of {name}. Copy to {name}/.env and uncomment what you change.\n\
         # Flags and the environment win over this file. Defaults are shown.\n",
        name = program.name
    );
    for heading in group::ORDER {
        let settings = |o: &&Opt| o.group == heading && o.kind == Kind::Setting;
        let mut rows = program.options.iter().filter(settings).peekable();
        if rows.peek().is_none() {
            continue;
        }
        let _ = write!(text, "\n# --- {heading} ---\n");
        for option in rows {
            text.push('\n');
            let mut meaning = String::new();
            wrapped(&mut meaning, option.meaning);
            for line in meaning.lines() {
                let _ = writeln!(text, "# {}", line.trim_start());
            }
            let _ = writeln!(
                text,
                "#{}={}",
                option.variable,
                option.default.unwrap_or_default()
            );
        }
    }
    text
}

fn row(text: &mut String, option: &Opt) {
    let flag = flag_of(option.variable);
    match option.kind {
        Kind::Setting => {
            let _ = write!(text, "  {flag}, {}", option.variable);
            for alias in option.aliases {
                let _ = write!(text, ", {alias}");
            }
            if option.may_lie_in_a_file() {
                let _ = write!(text, " (or {}_FILE, a file that holds it)", option.variable);
            }
            text.push('\n');
        }
        Kind::Flag => {
            let _ = writeln!(text, "    {flag} VALUE");
        }
        Kind::Switch => {
            let _ = writeln!(text, "    {flag}");
        }
        Kind::Foreign(_) => return,
    }
    let default = match (option.kind, option.default) {
        (Kind::Switch, _) => String::new(),
        (_, None) => " [default: not set]".to_owned(),
        (_, Some("")) => " [default: empty]".to_owned(),
        (_, Some(default)) => format!(" [default: {default}]"),
    };
    wrapped(text, &format!("{}{default}", option.meaning));
}

fn wrapped(text: &mut String, paragraph: &str) {
    const INDENT: &str = "      ";
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column == 0 || column + 1 + length > WIDTH {
            if column > 0 {
                text.push('\n');
            }
            text.push_str(INDENT);
            column = INDENT.len();
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}
