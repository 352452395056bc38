// A Node system's user-service beside our cart service, by kafkajs.
//
//     node shop.js BOOTSTRAP CART_SERVICE_URL
//
// It registers a user by sending UserCreated under the name that such a system gives it, reads the CartCreated that
// comes of it, and asks for the cart.

const { Kafka, Partitioners, logLevel } = require('kafkajs')

const PATIENCE = 60_000
const [bootstrap, cartService] = process.argv.slice(2)
const userId = 1_000_000 + Math.floor(Math.random() * 1_000_000_000)
const kafka = new Kafka({ clientId: 'user-service', brokers: [bootstrap], logLevel: logLevel.ERROR })

async function main() {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  const event = { type: 'USER_CREATED', userId: String(userId), email: 'ann@example.com', createdAt: Date.now() }
  const [sent] = await producer.send({
    topic: 'users.events',
    acks: -1,
    messages: [{ key: String(userId), value: JSON.stringify(event) }],
  })
  console.log(`sent USER_CREATED of user ${userId} to users.events/${sent.partition}/${sent.baseOffset}`)
  await producer.disconnect()

  const consumer = kafka.consumer({ groupId: `node-${userId}` })
  await consumer.connect()
  await consumer.subscribe({ topic: 'carts.events', fromBeginning: true })
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no CartCreated of user ${userId}`)), PATIENCE)
    consumer
      .run({
        eachMessage: async ({ message }) => {
          const cart = JSON.parse(message.value.toString())
          if (cart.type === 'CartCreated' && cart.userId === userId) {
            clearTimeout(late)
            resolve()
          }
        },
      })
      .catch(reject)
  })
  await consumer.disconnect()
  console.log(`read CartCreated of user ${userId}`)

  const answer = await fetch(`${cartService}/api/cart/user/${userId}`)
  const cart = await answer.json()
  if (answer.status !== 200 || cart.userId !== userId || cart.items.length !== 0) {
    throw new Error(`cart of user ${userId}: ${answer.status} ${JSON.stringify(cart)}`)
  }
  console.log(`the cart of user ${userId} is there`)
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
