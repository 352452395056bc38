use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

fn member(id: &str, topics: &[&str]) -> Member {
    Member {
        id: id.to_owned(),
        instance: None,
        subscription: Subscription {
            topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
            ..Subscription::default()
        },
    }
}

fn owning(mut member: Member, generation: i32, owned: &[&str]) -> Member {
    member.subscription.owned = owned.iter().map(|name| partition(name)).collect();
    member.subscription.generation = Some(generation);
    member
}

/// `topic-partition`
fn partition(name: &str) -> TopicPartition {
    let (topic, number) = name.rsplit_once('-').unwrap();
    TopicPartition::new(topic, number.parse().unwrap())
}

fn topics(counts: &[(&str, i32)]) -> BTreeMap<Arc<str>, i32> {
    counts
        .iter()
        .map(|(topic, count)| (Arc::from(*topic), *count))
        .collect()
}

/// `id: partitions` of each member, for comparison.
fn shown(plan: &Plan) -> Vec<String> {
    plan.iter()
        .map(|(id, partitions)| {
            let names: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            format!("{id}: {}", names.join(" "))
        })
        .collect()
}

// The vectors of `range` and `roundrobin` follow the rules and examples of the Javadoc of RangeAssignor and
// RoundRobinAssignor.

#[test]
fn range_gives_each_topic_in_blocks() {
    let members = [member("C1", &["t0", "t1"]), member("C0", &["t0", "t1"])];
    let plan = Assignor::Range.assign(&members, &topics(&[("t0", 3), ("t1", 3)]));
    assert_eq!(shown(&plan), ["C0: t0-0 t0-1 t1-0 t1-1", "C1: t0-2 t1-2"]);
}

#[test]
fn range_with_more_members_than_partitions_and_different_subscriptions() {
    let members = [
        member("a", &["t0"]),
        member("b", &["t0", "t1", "gone"]),
        member("c", &["t1", "t0"]),
        member("d", &[]),
    ];
    let plan = Assignor::Range.assign(&members, &topics(&[("t0", 2), ("t1", 7), ("unread", 3)]));
    assert_eq!(
        shown(&plan),
        [
            "a: t0-0",
            "b: t0-1 t1-0 t1-1 t1-2 t1-3",
            "c: t1-4 t1-5 t1-6",
            "d: "
        ]
    );
}

#[test]
fn range_puts_static_members_first_by_instance() {
    let mut members = [
        member("z", &["t"]),
        member("a", &["t"]),
        member("m", &["t"]),
    ];
    members[0].instance = Some("i1".to_owned());
    members[2].instance = Some("i2".to_owned());
    let plan = Assignor::Range.assign(&members, &topics(&[("t", 4)]));
    assert_eq!(shown(&plan), ["a: t-3", "m: t-2", "z: t-0 t-1"]);
}

#[test]
fn round_robin_deals_over_topics() {
    let members = [member("C0", &["t0", "t1"]), member("C1", &["t0", "t1"])];
    let plan = Assignor::RoundRobin.assign(&members, &topics(&[("t0", 3), ("t1", 3)]));
    assert_eq!(shown(&plan), ["C0: t0-0 t0-2 t1-1", "C1: t0-1 t1-0 t1-2"]);
}

#[test]
fn round_robin_passes_members_that_do_not_subscribe() {
    let members = [
        member("C0", &["t0"]),
        member("C1", &["t0", "t1"]),
        member("C2", &["t0", "t1", "t2"]),
    ];
    let plan = Assignor::RoundRobin.assign(
        &members,
        &topics(&[("t0", 1), ("t1", 2), ("t2", 3), ("t3", 1)]),
    );
    assert_eq!(
        shown(&plan),
        ["C0: t0-0", "C1: t1-0", "C2: t1-1 t2-0 t2-1 t2-2"]
    );
}

#[test]
fn sticky_takes_away_before_it_gives() {
    let joined = [
        owning(member("a", &["t"]), 1, &["t-0", "t-1", "t-2", "t-3"]),
        member("b", &["t"]),
    ];
    let plan = Assignor::CooperativeSticky.assign(&joined, &topics(&[("t", 4)]));
    assert_eq!(shown(&plan), ["a: t-0 t-1", "b: "]);
    let let_go = [
        owning(member("a", &["t"]), 2, &["t-0", "t-1"]),
        owning(member("b", &["t"]), 2, &[]),
    ];
    let plan = Assignor::CooperativeSticky.assign(&let_go, &topics(&[("t", 4)]));
    assert_eq!(shown(&plan), ["a: t-0 t-1", "b: t-2 t-3"]);
}

#[test]
fn sticky_believes_the_later_generation() {
    let late = owning(member("a", &["t"]), 5, &["t-0", "t-1"]);
    let stale = owning(member("b", &["t"]), 4, &["t-1", "t-2"]);
    let plan = Assignor::CooperativeSticky.assign(&[late, stale], &topics(&[("t", 4)]));
    assert_eq!(shown(&plan), ["a: t-0 t-1", "b: t-2 t-3"]);
}

#[test]
fn sticky_reads_the_generation_of_older_peers_from_their_user_data() {
    let old = |id: &str, generation: i32, owned: &[&str]| {
        let mut member = owning(member(id, &["t"]), 0, owned);
        member.subscription.generation = None;
        member.subscription.user_data = Assignor::CooperativeSticky.user_data(generation);
        member
    };
    assert_eq!(
        Assignor::CooperativeSticky.user_data(258).unwrap(),
        &[0, 0, 1, 2][..]
    );
    assert_eq!(Assignor::Range.user_data(258), None);
    let plan = Assignor::CooperativeSticky.assign(
        &[old("a", 4, &["t-0", "t-1"]), old("b", 5, &["t-0", "t-1"])],
        &topics(&[("t", 2)]),
    );
    // b is believed; one of its two moves to a, which claims it already and so keeps it.
    assert_eq!(shown(&plan), ["a: t-1", "b: t-0"]);
}

#[test]
fn sticky_moves_what_its_owner_no_longer_subscribes_to_in_two_steps() {
    let joined = [
        owning(member("a", &["u"]), 1, &["t-0"]),
        member("b", &["t", "u"]),
    ];
    let plan = Assignor::CooperativeSticky.assign(&joined, &topics(&[("t", 1), ("u", 1)]));
    assert_eq!(shown(&plan), ["a: u-0", "b: "]);
}

#[test]
fn names_are_those_of_the_java_client() {
    for (name, assignor) in [
        ("range", Assignor::Range),
        ("roundrobin", Assignor::RoundRobin),
        (" cooperative-sticky ", Assignor::CooperativeSticky),
    ] {
        assert_eq!(name.parse(), Ok(assignor));
        assert_eq!(assignor.to_string(), name.trim());
    }
    let error = "sticky".parse::<Assignor>().unwrap_err();
    assert!(error.to_string().contains("cooperative-sticky"), "{error}");
}

const NAMES: [&str; 4] = ["t0", "t1", "t2", "t3"];

fn any_group() -> impl Strategy<Value = (Vec<Member>, BTreeMap<Arc<str>, i32>)> {
    let counts = prop::collection::vec(0..12_i32, NAMES.len());
    let members = prop::collection::vec(
        (
            prop::collection::vec(any::<bool>(), NAMES.len()),
            any::<bool>(),
        ),
        1..7,
    );
    (counts, members, any::<bool>()).prop_map(|(counts, members, same)| {
        let topics = NAMES
            .iter()
            .zip(counts)
            .map(|(topic, count)| (Arc::from(*topic), count))
            .collect();
        let members = members
            .into_iter()
            .enumerate()
            .map(|(at, (chosen, is_static))| {
                let chosen: Vec<&str> = NAMES
                    .into_iter()
                    .zip(chosen)
                    .filter(|(_, yes)| same || *yes)
                    .map(|(topic, _)| topic)
                    .collect();
                let mut member = member(&format!("m{at}"), &chosen);
                member.instance = is_static.then(|| format!("i{}", 9 - at));
                member
            })
            .collect();
        (members, topics)
    })
}

/// Every partition of a subscribed topic is given once, to a subscriber.
fn check_complete(
    plan: &Plan,
    members: &[Member],
    topics: &BTreeMap<Arc<str>, i32>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(plan.len(), members.len());
    let mut seen = BTreeSet::new();
    for member in members {
        for given in &plan[&member.id] {
            prop_assert!(member.subscribes(&given.topic));
            prop_assert!(seen.insert(given.clone()), "{} is given twice", given);
        }
    }
    for (topic, count) in topics {
        let wanted = members.iter().any(|member| member.subscribes(topic));
        for number in 0..*count {
            prop_assert_eq!(
                seen.contains(&TopicPartition::new(topic.clone(), number)),
                wanted
            );
        }
    }
    prop_assert!(
        seen.iter()
            .all(|given| given.partition < topics[&given.topic])
    );
    Ok(())
}

/// No single move could make it more even; with equal subscriptions: within one of each other.
fn check_balance(plan: &Plan, members: &[Member]) -> Result<(), TestCaseError> {
    for from in members {
        for given in &plan[&from.id] {
            for to in members.iter().filter(|to| to.subscribes(&given.topic)) {
                prop_assert!(
                    plan[&from.id].len() <= plan[&to.id].len() + 1,
                    "{} of {} to {}",
                    given,
                    from.id,
                    to.id
                );
            }
        }
    }
    Ok(())
}

/// What the members say when they join after having followed `plan`.
fn followed(members: &[Member], plan: &Plan, generation: i32) -> Vec<Member> {
    let mut members = members.to_vec();
    for member in &mut members {
        let member_plan = plan.get(&member.id).cloned().unwrap_or_default();
        if plan.contains_key(&member.id) {
            member.subscription.generation = Some(generation);
        }
        member.subscription.owned = member_plan;
    }
    members
}

/// Rebalances until a plan changes nothing more; each lets go before it gives.
fn settled(members: &[Member], topics: &BTreeMap<Arc<str>, i32>) -> Result<Plan, TestCaseError> {
    let mut members = members.to_vec();
    for generation in 20..24 {
        let plan = Assignor::CooperativeSticky.assign(&members, topics);
        check_nothing_is_given_while_held(&plan, &members)?;
        if members
            .iter()
            .all(|member| plan[&member.id] == member.subscription.owned)
        {
            return Ok(plan);
        }
        members = followed(&members, &plan, generation);
    }
    Err(TestCaseError::fail("still moving after four rebalances"))
}

fn check_nothing_is_given_while_held(plan: &Plan, members: &[Member]) -> Result<(), TestCaseError> {
    for member in members {
        for given in &plan[&member.id] {
            if !member.subscription.owned.contains(given) {
                for other in members {
                    prop_assert!(
                        !other.subscription.owned.contains(given),
                        "{} is still {}'s",
                        given,
                        other.id
                    );
                }
            }
        }
    }
    Ok(())
}

fn owners(plan: &Plan) -> HashMap<&TopicPartition, &str> {
    plan.iter()
        .flat_map(|(id, partitions)| partitions.iter().map(move |partition| (partition, &**id)))
        .collect()
}

proptest! {
    #[test]
    fn every_partition_has_one_owner((members, topics) in any_group()) {
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky] {
            let plan = assignor.assign(&members, &topics);
            check_complete(&plan, &members, &topics)?;
            let mut reordered = members.clone();
            reordered.reverse();
            prop_assert_eq!(assignor.assign(&reordered, &topics), plan, "{} depends on the order", assignor);
        }
    }

    #[test]
    fn equal_subscriptions_are_balanced((mut members, topics) in any_group()) {
        for member in &mut members {
            member.subscription.topics = NAMES.iter().map(|topic| Arc::from(*topic)).collect();
        }
        for assignor in [Assignor::RoundRobin, Assignor::CooperativeSticky] {
            let plan = assignor.assign(&members, &topics);
            let least = plan.values().map(Vec::len).min().unwrap();
            let most = plan.values().map(Vec::len).max().unwrap();
            prop_assert!(most - least <= 1, "{}", assignor);
        }
        let plan = Assignor::Range.assign(&members, &topics);
        for topic in topics.keys() {
            let of_topic = |given: &Vec<TopicPartition>| given.iter().filter(|given| given.topic == *topic).count();
            let least = plan.values().map(of_topic).min().unwrap();
            let most = plan.values().map(of_topic).max().unwrap();
            prop_assert!(most - least <= 1);
        }
    }

    /// A group lives: members come and go, topics grow. Each time: first step, let go, second step.
    #[test]
    fn sticky_groups_stay_sticky(
        (members, topics) in any_group(),
        leaving in any::<prop::sample::Index>(),
        joining in any::<bool>(),
        growing in 0..3_i32,
    ) {
        let sticky = Assignor::CooperativeSticky;
        let first = sticky.assign(&members, &topics);
        check_complete(&first, &members, &topics)?;
        check_balance(&first, &members)?;

        // Nothing changes: nothing moves.
        let again = followed(&members, &first, 1);
        prop_assert_eq!(&sticky.assign(&again, &topics), &first);

        let mut changed = again;
        if joining {
            changed.push(member("new", &NAMES));
        } else if changed.len() > 1 {
            changed.remove(leaving.index(changed.len()));
        }
        let topics: BTreeMap<_, _> = topics.into_iter().map(|(topic, count)| (topic, count + growing)).collect();
        let last = settled(&changed, &topics)?;
        check_complete(&last, &changed, &topics)?;
        check_balance(&last, &changed)?;

        // With equal subscriptions nothing moves from a member that stays but what takes it down to the new share.
        let equal = changed.iter().all(|member| member.subscription.topics == changed[0].subscription.topics);
        if equal {
            let total: usize = last.values().map(Vec::len).sum();
            let share = total / changed.len();
            let owner_now = owners(&last);
            for (id, had) in &first {
                if changed.iter().any(|member| member.id == *id) {
                    let lost = had.iter().filter(|partition| owner_now.get(partition) != Some(&&**id)).count();
                    prop_assert!(lost <= had.len().saturating_sub(share), "{} lost {} of {}", id, lost, had.len());
                }
            }
        }
    }

    /// Whatever members claim to own, the plan is whole but for what has to be taken away first.
    #[test]
    fn false_claims_do_no_harm(
        (mut members, topics) in any_group(),
        claims in prop::collection::vec((any::<prop::sample::Index>(), 0..5_usize, -1..14_i32, -1..3_i32), 0..40),
    ) {
        for (at, topic, number, generation) in claims {
            let at = at.index(members.len());
            let subscription = &mut members[at].subscription;
            subscription.owned.push(TopicPartition::new(*NAMES.get(topic).unwrap_or(&"gone"), number));
            subscription.generation = Some(generation).filter(|generation| *generation >= 0);
        }
        let last = settled(&members, &topics)?;
        check_complete(&last, &members, &topics)?;
        check_balance(&last, &members)?;
    }
}
