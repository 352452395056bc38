//! Which instance of its service a process is, so that Kafka's groups and the outbox know it again after a restart.
//!
//! In this order: the id that `KAFKA_GROUP_INSTANCE_ID` configures; else a random one that is kept in a file of the data
//! folder, locked for as long as the process lives; else the name of the pod or container, `INSTANCE_NAME`; else none.
//! All groups of a process have the same. It is claimed by [`Common::claim_instance`] once the listeners are bound: a
//! second process that is started by mistake fails at its port, and takes nothing from the first.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kafka::StaticMember;
use uuid::Uuid;

use crate::config::{Common, KafkaConfig};
use crate::db::{DatabaseKind, make_private_folder, sqlite_file};

/// The word in `INSTANCE_NAME` that stands for the machine's host name.
const HOST_NAME: &str = "hostname";

/// Longest id that Kafka's own clients take (`group.instance.id`).
const MAX_ID: usize = 249;

/// The identity of this process among the instances of its service. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Instance {
    member: Option<StaticMember>,
    /// Locked until the process ends, however it ends.
    _file: Option<Arc<File>>,
}

impl Instance {
    /// The identity of a process named `process` (`consumer-svc`, `standalone`) whose data lies in `folder`, if it has
    /// one.
    pub fn claim(process: &str, folder: Option<&Path>, kafka: &KafkaConfig) -> Self {
        let none = Self {
            member: None,
            _file: None,
        };
        if let Some(id) = &kafka.group_instance_id {
            return Self {
                member: Some(StaticMember::configured(id)),
                ..none
            };
        }
        if let Some(folder) = folder {
            let path = folder.join(format!("{process}.instance"));
            match Self::of_file(process, &path) {
                Ok(Some(claimed)) => return claimed,
                Ok(None) => tracing::warn!(
                    "another process uses the instance id in {}: this one does without it",
                    path.display()
                ),
                Err(error) => tracing::warn!(
                    "no instance id can be kept in {} ({error}): a restart after a crash waits for the session timeout",
                    path.display()
                ),
            }
        }
        let name = match kafka.instance_name.as_deref() {
            Some(HOST_NAME) => host_name(),
            name => name.map(str::to_owned),
        };
        match name {
            Some(name) => Self {
                member: Some(StaticMember::derived(&name, "INSTANCE_NAME")),
                ..none
            },
            None => none,
        }
    }

    /// `None`: another process has locked the file.
    fn of_file(process: &str, path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            make_private_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        // Who can open the file can lock it, and so take the name away.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        // What a crash while it was written left, or another hand, is no id: a new one is made.
        let _ = (&file).take(4 * MAX_ID as u64).read_to_string(&mut text);
        let mut id = text.trim().to_owned();
        if !is_instance_name(&id) {
            id = format!("{process}-{}", Uuid::new_v4().simple());
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(format!("{id}\n").as_bytes())?;
        }
        Ok(Some(Self {
            member: Some(StaticMember::derived(&id, &path.display().to_string())),
            _file: Some(Arc::new(file)),
        }))
    }

    /// The static member id for Kafka's groups; `None`: this process has no identity that outlives it.
    pub fn member(&self) -> Option<&StaticMember> {
        self.member.as_ref()
    }

    /// The id alone.
    pub fn id(&self) -> Option<&str> {
        self.member().map(StaticMember::id)
    }
}

impl Common {
    /// Claims this process's identity, unless it has been given one already ([`KafkaConfig::instance`]). To be called
    /// once the listeners are bound, before a group is joined.
    pub fn claim_instance(&mut self) {
        if self.kafka.instance.is_some() {
            return;
        }
        let file = match self.database.kind {
            DatabaseKind::Sqlite => sqlite_file(self.database.url.expose()),
            DatabaseKind::Postgres => None,
        };
        let folder = file.map(|file| file.parent().map_or_else(PathBuf::new, Path::to_owned));
        let instance = Instance::claim(self.service, folder.as_deref(), &self.kafka);
        match instance.id() {
            Some(id) => tracing::info!("instance {id}"),
            None => tracing::info!(
                "this instance has no name that outlives it (INSTANCE_NAME): after a crash its partitions wait for \
                 KAFKA_SESSION_TIMEOUT"
            ),
        }
        self.kafka.instance = Some(instance);
    }
}

/// Whether Kafka's clients would take it as `group.instance.id`.
pub(crate) fn is_instance_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_ID).contains(&name.len()) && name.chars().all(legal) && !matches!(name, "." | "..")
}

/// The machine's name; a container's is its own, unless it shares its host's network. Known on Linux alone, where
/// containers run.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name
        .map(|name| name.trim().to_owned())
        .filter(|name| is_instance_name(name));
    if name.is_none() {
        tracing::warn!(
            "INSTANCE_NAME=hostname: the host name cannot be used as an instance's name"
        );
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Parsed, Program, common_options};

    fn common(vars: &[(&str, &str)]) -> Common {
        let program = Program {
            name: "cart-svc",
            about: "",
            options: common_options("127.0.0.1:5003", "cart", "sqlite:data/cart-svc.db"),
            commands: vec![],
        };
        let folder = tempfile::tempdir().unwrap();
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let Parsed::Invocation(mut invocation) = program.parse([], vars, folder.path()) else {
            panic!("printed");
        };
        Common::read("cart-svc", &mut invocation.values)
    }

    fn claimed(vars: &[(&str, &str)]) -> Instance {
        let mut common = common(vars);
        common.claim_instance();
        common.kafka.instance.unwrap()
    }

    const POSTGRES: (&str, &str) = ("DATABASE_URL", "postgres://u@127.0.0.1:1/d");

    #[cfg(feature = "embedded")]
    #[test]
    fn the_data_folder_keeps_an_id_for_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/new/shop.db", folder.path().display());
        let vars = [("DATABASE_URL", &*url)];
        let first = claimed(&vars);
        let id = first.id().unwrap().to_owned();
        assert!(id.starts_with("cart-svc-"), "{id}");
        let source = first.member().unwrap().source().unwrap();
        assert!(source.ends_with("new/cart-svc.instance"), "{source}");
        let second = claimed(&vars);
        assert_eq!(second.id(), None, "two at a time");
        let named = claimed(&[("DATABASE_URL", &url), ("INSTANCE_NAME", "pod-1")]);
        assert_eq!(named.id(), Some("pod-1"));
        drop(first);
        let again = claimed(&vars);
        assert_eq!(again.id(), Some(&*id), "after a restart");
        drop(again);
        // A process of another service in the same folder has its own.
        let other = Instance::claim(
            "other",
            Some(&folder.path().join("new")),
            &common(&vars).kafka,
        );
        assert_ne!(other.id(), Some(&*id));
        // What a crash left half written.
        let file = folder.path().join("new/cart-svc.instance");
        for left in ["", "cart svc\u{0}", "..", &"x".repeat(5_000)] {
            std::fs::write(&file, left).unwrap();
            let id = claimed(&vars).id().unwrap().to_owned();
            assert!(id.starts_with("cart-svc-") && id.len() == 41, "{id}");
            assert_eq!(claimed(&vars).id(), Some(&*id));
        }
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn a_folder_that_takes_no_file_is_no_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let url = format!("sqlite:{}/file/shop.db", folder.path().display());
        assert_eq!(claimed(&[("DATABASE_URL", &url)]).id(), None);
        let named = claimed(&[("DATABASE_URL", &url), ("INSTANCE_NAME", "pod-1")]);
        assert_eq!(named.id(), Some("pod-1"));
    }

    #[test]
    fn a_configured_id_comes_first_and_no_name_is_none() {
        let configured = claimed(&[
            POSTGRES,
            ("KAFKA_GROUP_INSTANCE_ID", "mine"),
            ("INSTANCE_NAME", "pod-1"),
        ]);
        assert_eq!(configured.id(), Some("mine"));
        assert_eq!(configured.member().unwrap().source(), None);
        let named = claimed(&[POSTGRES, ("INSTANCE_NAME", "pod-1")]);
        let member = named.member().unwrap();
        assert_eq!(
            (member.id(), member.source()),
            ("pod-1", Some("INSTANCE_NAME"))
        );
        assert_eq!(claimed(&[POSTGRES]).id(), None);
        assert_eq!(
            claimed(&[POSTGRES, ("INSTANCE_NAME", "hostname")]).id(),
            host_name().as_deref()
        );
    }
}
