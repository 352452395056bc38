//! DescribeLogDirs: how much disk each partition takes.

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;

impl Api for DescribeLogDirsRequest {
    const SERVED: VersionRange = versions(1, 4);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in self.topics.iter().flatten() {
            visit(Subject::Topic(&topic.topic));
        }
    }

    async fn handle(self, call: &Call) -> Reply<DescribeLogDirsResponse> {
        let asked = |topic: &str, index: i32| match &self.topics {
            None => true,
            Some(topics) => topics
                .iter()
                .any(|asked| asked.topic.as_str() == topic && asked.partitions.contains(&index)),
        };
        let mut topics = Vec::new();
        for topic in call.state.topics.all() {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                if asked(&topic.name, partition.index) {
                    let size = i64::try_from(partition.log().size()).unwrap_or(i64::MAX);
                    partitions.push(
                        DescribeLogDirsPartition::default()
                            .with_partition_index(partition.index)
                            .with_partition_size(size),
                    );
                }
            }
            if !partitions.is_empty() {
                topics.push(
                    DescribeLogDirsTopic::default()
                        .with_name(topic.name.clone().into())
                        .with_partitions(partitions),
                );
            }
        }
        let error = call.refusal_of_all().or(call.disguise_of_all());
        let dir = call.state.config.data_dir.display().to_string();
        let result = DescribeLogDirsResult::default()
            .with_error_code(code(error))
            .with_log_dir(StrBytes::from_string(dir))
            .with_topics(topics)
            // How much the device holds is not asked of the operating system.
            .with_total_bytes(-1)
            .with_usable_bytes(-1);
        Reply::Answer(DescribeLogDirsResponse::default().with_results(vec![result]))
    }
}
