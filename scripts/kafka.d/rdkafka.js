// What Node programs do with node-rdkafka: connect (which asks for all topics), topics made and listed, records produced,
// and read by a regular expression.
//
//     node rdkafka.js BOOTSTRAP NAME      NODE_PATH has node-rdkafka; prints what scripts/test-tools looks for

const Kafka = require('node-rdkafka')

const [bootstrap, name] = process.argv.slice(2)
const topics = [`${name}-a`, `${name}-b`]
const RECORDS = 10
const ask = (run) => new Promise((resolve, reject) => run((error, answer) => (error ? reject(error) : resolve(answer))))

async function produce() {
  const producer = new Kafka.Producer({ 'bootstrap.servers': bootstrap, dr_cb: true, acks: 'all' })
  const metadata = await ask((done) => producer.connect({ allTopics: true, timeout: 10_000 }, done))
  console.log(`connected, knows of ${metadata.brokers.length} broker`)
  const listed = await ask((done) => producer.getMetadata({ timeout: 10_000 }, done))
  console.log(`listed ${topics.every((topic) => listed.topics.some((one) => one.name === topic))}`)
  producer.setPollInterval(50)
  let acknowledged = 0
  const reported = new Promise((resolve) => {
    let reports = 0
    producer.on('delivery-report', (error) => {
      acknowledged += error ? 0 : 1
      if (++reports === RECORDS) resolve()
    })
  })
  for (let i = 0; i < RECORDS; i++) producer.produce(topics[i % 2], null, Buffer.from(`value ${i}`), `key ${i}`)
  await reported
  console.log(`produced ${acknowledged}`)
  await ask((done) => producer.disconnect(done))
}

async function consume() {
  const consumer = new Kafka.KafkaConsumer(
    { 'bootstrap.servers': bootstrap, 'group.id': `${name}-group`, 'enable.auto.commit': false },
    { 'auto.offset.reset': 'earliest' },
  )
  await ask((done) => consumer.connect({ timeout: 10_000 }, done))
  consumer.subscribe([new RegExp(`^${name}-[ab]$`)])
  const values = new Set()
  await new Promise((resolve) => {
    consumer.on('data', (record) => {
      values.add(record.value.toString())
      if (values.size === RECORDS) resolve()
    })
    consumer.consume()
  })
  consumer.commitSync()
  console.log(`read by a regular expression ${values.size}`)
  await ask((done) => consumer.disconnect(done))
}

async function main() {
  const admin = Kafka.AdminClient.create({ 'bootstrap.servers': bootstrap })
  for (const topic of topics) {
    await ask((done) => admin.createTopic({ topic, num_partitions: 3, replication_factor: 1 }, 10_000, done))
  }
  console.log('created')
  admin.disconnect()
  await produce()
  await consume()
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
