//! The stages, each a pure look at the findings. A stage that others would fail for comes before them.

use kafka::GroupDescription;
use proto::Rfc3339;
use proto::dead_letter::Place;

use super::findings::{Cart, Findings, Letter, Letters, Readiness, Record, There};
use super::report::{Look, State};

type Stage = (&'static str, &'static str, fn(&Findings) -> Look);

/// Names, questions and looks, in the order of the way.
pub(super) const ALL: [Stage; 12] = [
    (
        "users-database",
        "Does the database of producer-svc answer?",
        users_database,
    ),
    ("user", "Is the user stored?", user),
    ("event", "Is UserCreated in the outbox?", event),
    ("kafka", "Does Kafka answer, and has it the topic?", kafka),
    ("published", "Is the event published?", published),
    ("record", "Is the record really there?", record),
    (
        "cart-service",
        "Does consumer-svc answer, and does it keep carts?",
        cart_service,
    ),
    (
        "carts-database",
        "Does the database of consumer-svc answer?",
        carts_database,
    ),
    (
        "group",
        "Does a member of the cart group read the partition?",
        group,
    ),
    ("handled", "Has the cart group handled the event?", handled),
    (
        "dead-letters",
        "Was the event not put aside as a dead letter?",
        dead_letters,
    ),
    ("cart", "Is the cart there?", cart),
];

const NO_USER: &str = "there is no such user";

/// Why Kafka does not tell something: in full at the stage that is about Kafka itself.
fn untold<'a>(f: &Findings, problem: &'a str) -> &'a str {
    match f.topic {
        Err(_) => "Kafka does not answer",
        Ok(_) => problem,
    }
}

fn users_database(f: &Findings) -> Look {
    match f.user.as_ref().err().or(f.event.as_ref().err()) {
        None => Look::ok("it answers"),
        Some(problem) => Look::failed(
            problem,
            "start the database of producer-svc, or put right DATABASE_URL; registrations are refused \
             until it answers",
        ),
    }
}

fn user(f: &Findings) -> Look {
    match &f.user {
        Ok(Some(at)) => Look::ok(format!("registered at {}", time(*at))),
        Ok(None) if f.foreign().is_some() => Look::ok(format!(
            "registered by another system: this database has no user {}, and {} has their UserCreated",
            f.user_id, f.asked.users_topic
        )),
        Ok(None) if f.foreign.is_err() => Look::unknown(format!(
            "this database has no user {}, and whether {} has one of another system is not known: {}",
            f.user_id,
            f.asked.users_topic,
            f.foreign
                .as_ref()
                .err()
                .map_or("", |problem| untold(f, problem))
        )),
        Ok(None) => Look::failed(
            format!("there is no user {}", f.user_id),
            "check the id, which the answer to POST /api/auth/registration has; if it is right, this \
             is another database than the one that was registered in (DATABASE_URL)",
        ),
        Err(_) => Look::unknown("the users' database does not answer"),
    }
}

fn event(f: &Findings) -> Look {
    let registered = match (&f.event, &f.user) {
        (Ok(Some(event)), _) => {
            return Look::ok(format!("row {}, of {}", event.id, time(event.created_at)));
        }
        (Err(_), _) | (_, Err(_)) => return Look::unknown("the users' database does not answer"),
        (Ok(None), Ok(None)) if f.foreign().is_some() => {
            return Look::ok("none is needed: another system published it");
        }
        (Ok(None), Ok(None)) => return Look::unknown(NO_USER),
        (Ok(None), Ok(Some(at))) => *at,
    };
    let kept = &f.asked.outbox_retention;
    let age = f.asked.at.saturating_sub(registered);
    if u128::try_from(age).is_ok_and(|age| age >= kept.as_millis()) {
        return Look::unknown(format!(
            "published events are deleted after {} (OUTBOX_RETENTION), and this user registered before \
             that",
            duration(kept.as_secs())
        ));
    }
    Look::failed(
        format!(
            "the outbox has no event of the user on {}, though none is deleted so soon",
            f.asked.users_topic
        ),
        "a user who came otherwise than by registration, or under another USERS_EVENTS_TOPIC, has no \
         event: send UserCreated to the topic, keyed by the user id",
    )
}

fn kafka(f: &Findings) -> Look {
    match &f.topic {
        Ok(Some(count)) => Look::ok(format!("{} has {count} partitions", f.asked.users_topic)),
        Ok(None) => Look::failed(
            format!("topic {} does not exist", f.asked.users_topic),
            "producer-svc creates it at start (KAFKA_CREATE_TOPICS=true), else create it; check \
             USERS_EVENTS_TOPIC",
        ),
        Err(problem) => Look::failed(
            format!("Kafka does not answer: {problem}"),
            "start Kafka, or put right KAFKA_BOOTSTRAP_SERVERS; the event waits in the outbox and \
             nothing is lost",
        ),
    }
}

fn published(f: &Findings) -> Look {
    let event = match &f.event {
        Ok(Some(event)) => event,
        Ok(None) if matches!(f.user, Ok(None)) => {
            return match f.foreign() {
                Some(at) => Look::ok(format!(
                    "at {}, to {}/{}/{}, by another system",
                    time(at.time),
                    f.asked.users_topic,
                    at.partition,
                    at.offset
                )),
                None => Look::unknown(NO_USER),
            };
        }
        Ok(None) => return Look::unknown("its row is not in the outbox"),
        Err(_) => return Look::unknown("the users' database does not answer"),
    };
    match event.place {
        Some(place) => Look::ok(format!(
            "at {}, to {}/{}/{}",
            time(place.published_at),
            event.topic,
            place.partition,
            place
                .offset
                .map_or_else(|| "unknown offset".to_owned(), |offset| offset.to_string()),
        )),
        None => Look::failed(
            format!("it waits since {}", time(event.created_at)),
            "the relay of producer-svc publishes it: see that an instance runs with USERS=true, and \
             what /readyz and the log say of \"outbox\"",
        ),
    }
}

fn record(f: &Findings) -> Look {
    let look = record_in_the_log(f);
    match f.cart {
        // Nothing is to be sent once more: the topic may have gone since the cart was made of it.
        Ok(Cart::There { .. }) if look.state == State::Failed => {
            Look::ok(format!("{}; the cart is there all the same", look.seen))
        }
        _ => look,
    }
}

fn record_in_the_log(f: &Findings) -> Look {
    if let Some(place) = f.gone_with_its_topic() {
        return Look::failed(
            format!(
                "the topic was deleted and created again since the event was published to it (at {})",
                time(place.published_at)
            ),
            "send UserCreated once more, keyed by the user id",
        );
    }
    let (offset, partition) = match (f.offset(), f.partition()) {
        (Some(offset), Some(partition)) => (offset, partition),
        _ => return Look::unknown("its offset is not known"),
    };
    let place = format!("{}/{partition}/{offset}", f.asked.users_topic);
    let Record { there, begin, end } = match &f.record {
        Ok(record) => *record,
        Err(problem) => return Look::unknown(untold(f, problem)),
    };
    match there {
        Some(There::Event) => Look::ok(format!("at {place}")),
        Some(There::Another) => Look::failed(
            format!("another record lies at {place}"),
            "the topic was deleted and made anew since: send UserCreated once more, keyed by the user \
             id",
        ),
        None => Look::unknown("its offset is not known"),
        Some(There::Nothing) if offset >= end => Look::failed(
            format!("{place} is beyond the partition's end, {end}"),
            "the topic was made anew, or its log cut back: send UserCreated once more, keyed by the \
             user id",
        ),
        Some(There::Nothing) => match has_handled(f, partition, offset) {
            Some(true) => Look::ok(format!(
                "{place} was handled, and deleted since (the log begins at {begin})"
            )),
            Some(false) => Look::failed(
                format!("{place} was deleted before it was handled (the log begins at {begin})"),
                "the group was away for longer than the topic keeps records (retention.ms): send \
                 UserCreated once more, keyed by the user id",
            ),
            None => Look::unknown(format!(
                "{place} is deleted, and how far the group has come is not known"
            )),
        },
    }
}

fn cart_service(f: &Findings) -> Look {
    let url = &f.asked.cart_service;
    if f.cart == Ok(Cart::NotKept) {
        return Look::failed(
            format!("{url} keeps no carts (CARTS=false)"),
            "set CARTS=true there, or CART_SERVICE_URL to an instance that keeps them",
        );
    }
    match &f.cart_service {
        Ok(Readiness::Told(problems)) if problems.is_empty() => {
            Look::ok(format!("{url} has all it needs"))
        }
        Ok(Readiness::Told(problems)) => {
            let list: Vec<String> = problems
                .iter()
                .map(|(name, problem)| format!("{name}: {problem}"))
                .collect();
            Look::ok(format!("{url} answers, and lacks {}", list.join("; ")))
        }
        Ok(Readiness::NotTold(status)) => Look::ok(format!(
            "{url} answers, but its /readyz ({status}) is not consumer-svc's"
        )),
        Err(problem) => Look::failed(problem, "start consumer-svc, or put right CART_SERVICE_URL"),
    }
}

fn carts_database(f: &Findings) -> Look {
    match &f.cart_service {
        Err(_) => Look::unknown("consumer-svc does not answer"),
        Ok(Readiness::NotTold(_)) => Look::unknown("the cart service does not tell"),
        Ok(_) if f.cart == Ok(Cart::NotKept) => Look::unknown("this instance keeps no carts"),
        Ok(told) => match told.problem_of("database") {
            None => Look::ok("it answers"),
            Some(problem) => Look::failed(
                problem,
                "start the database of consumer-svc, or put right its DATABASE_URL; events wait in \
                 Kafka until it answers",
            ),
        },
    }
}

fn group(f: &Findings) -> Look {
    let described = match &f.group {
        Ok(described) => described,
        Err(problem) => return Look::unknown(untold(f, problem)),
    };
    let (name, topic) = (&f.asked.group, &f.asked.users_topic);
    if described.members.is_empty() {
        return Look::failed(
            format!("group {name} has no members ({})", described.state),
            "start consumer-svc with CARTS=true; its CART_GROUP_ID must be this one's",
        );
    }
    if described.state != "Stable" {
        return Look::unknown(format!(
            "group {name} is just sharing out its partitions ({}); ask again in a few seconds",
            described.state
        ));
    }
    let Some(partition) = f.partition() else {
        return Look::unknown("the event's partition is not known");
    };
    match reader_of(described, topic, partition) {
        Some((client, host)) => Look::ok(format!("{client} at {host} reads {topic}/{partition}")),
        None => Look::failed(
            format!(
                "none of the {} members of group {name} reads {topic}/{partition}",
                described.members.len()
            ),
            "see that they follow this topic (USERS_EVENTS_TOPIC of consumer-svc), and restart those \
             that do not",
        ),
    }
}

/// Client id and host of the member that has the partition.
fn reader_of<'a>(
    group: &'a GroupDescription,
    topic: &str,
    partition: i32,
) -> Option<(&'a str, &'a str)> {
    let member = group.members.iter().find(|member| {
        let mut assigned = member.assignment.iter();
        assigned.any(|of| *of.topic == *topic && of.partition == partition)
    })?;
    Some((&member.client_id, &member.client_host))
}

/// None: not known.
fn has_handled(f: &Findings, partition: i32, offset: i64) -> Option<bool> {
    let committed = f.committed.as_ref().ok()?;
    Some(
        committed
            .get(&partition)
            .is_some_and(|committed| committed.has_handled(offset)),
    )
}

fn handled(f: &Findings) -> Look {
    if let (Ok(None), Ok(None), None) = (&f.user, &f.event, f.foreign()) {
        return Look::unknown(NO_USER);
    }
    if matches!(&f.event, Ok(Some(event)) if event.place.is_none()) {
        return Look::unknown("the event is not published yet");
    }
    let committed = match &f.committed {
        Ok(committed) => committed,
        Err(problem) => return Look::unknown(untold(f, problem)),
    };
    let Some(partition) = f.partition() else {
        return Look::unknown("the event's partition is not known");
    };
    let of = format!("{}/{partition}", f.asked.users_topic);
    let committed = match (committed.get(&partition), f.offset()) {
        (Some(committed), _) => committed,
        (None, None) => {
            return Look::unknown("the event's offset is not known, and the group has no commit");
        }
        (None, Some(_)) => {
            return Look::failed(
                format!("the group has committed nothing of {of}"),
                behind(f, "its members have not begun with the partition"),
            );
        }
    };
    let Some(offset) = f.offset() else {
        return match &f.record {
            Ok(record) if committed.offset >= record.end => {
                Look::ok(format!("the group is through with all of {of}"))
            }
            _ => Look::unknown("the event's offset is not known"),
        };
    };
    match committed.has_handled(offset) {
        true => Look::ok(format!(
            "the group's commit of {of} is {}, the event at {offset}",
            committed.offset
        )),
        false => Look::failed(
            format!(
                "the group's commit of {of} is {}, the event at {offset} is not handled",
                committed.offset
            ),
            behind(f, "others are before it, or it is being handled"),
        ),
    }
}

/// What to do about a group that has not come to the event.
fn behind(f: &Findings, why: &str) -> String {
    let said = f.cart_service.as_ref().ok().and_then(|readiness| {
        let parts = ["carts", "carts, in part"];
        parts.iter().find_map(|part| readiness.problem_of(part))
    });
    match said {
        Some(problem) => format!("consumer-svc says why it does not go on: {problem}"),
        None => format!(
            "{why}: ask again in a few seconds; if the commit stands still, the log of consumer-svc \
             says why"
        ),
    }
}

fn dead_letters(f: &Findings) -> Look {
    let topic = &f.asked.dead_letter_topic;
    let Letter {
        place,
        reason,
        replayed_to,
    } = match &f.letter {
        Ok(Letters::NoTopic) => return Look::ok(format!("there is no topic {topic}")),
        Ok(Letters::None) => return Look::ok(format!("none in {topic}")),
        Ok(Letters::Found(letter)) => letter,
        Err(problem) => return Look::unknown(untold(f, problem)),
    };
    let Place {
        topic,
        partition,
        offset,
    } = place;
    match replayed_to {
        None => Look::failed(
            format!("the group could not handle it: {reason} (dead letter {place})"),
            format!(
                "put right the cause, then `consumer-svc dlt replay {topic} {partition} {offset}`"
            ),
        ),
        Some(to) => match has_handled(f, to.partition, to.offset) {
            Some(true) => Look::ok(format!(
                "dead letter {place} was replayed to {to}, and that is handled"
            )),
            Some(false) => Look::failed(
                format!("dead letter {place} was replayed to {to}, which is not handled yet"),
                behind(f, "others are before it, or it is being handled"),
            ),
            None => Look::unknown(format!(
                "dead letter {place} was replayed to {to}, and how far the group has come is not known"
            )),
        },
    }
}

fn cart(f: &Findings) -> Look {
    match &f.cart {
        Ok(Cart::There { id, items }) => Look::ok(format!("cart {id}, with {items} items")),
        Ok(Cart::Missing) => Look::failed(
            format!("consumer-svc has no cart of user {}", f.user_id),
            "if no stage before this one fails, the carts were lost after the event was handled \
             (another database, or an old backup): send UserCreated once more, keyed by the user id",
        ),
        Ok(Cart::NotKept) => Look::unknown("this instance keeps no carts"),
        Err(_) if f.cart_service.is_err() => Look::unknown("consumer-svc does not answer"),
        Err(problem) => Look::unknown(problem),
    }
}

fn time(millis: i64) -> String {
    Rfc3339::from_millis(millis).as_str().to_owned()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0 => "less than a second".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s => format!("{s}s"),
    }
}
