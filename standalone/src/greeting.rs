use std::net::SocketAddr;

use service::http::Listeners;

/// Where everything listens, and a line to try. For people, so not a log line.
pub(crate) fn greet(broker: Option<SocketAddr>, kafka: &str, services: [(&str, &Listeners); 3]) {
    println!();
    match broker {
        Some(address) => println!("  broker        {address}  (embedded)"),
        None => println!("  Kafka         {kafka}"),
    }
    for (name, listeners) in services {
        println!("  {name:<13} {}", listeners.names());
    }
    if let Some(main) = services[0].1.addresses().first() {
        println!("\nPlace an order, then look what became of it:\n");
        println!(
            "  curl -X POST http://{main}/api/orders -H 'content-type: application/json' \
             -d '{{\"product\":\"Laptop\",\"quantity\":1}}'"
        );
        println!("  curl http://{main}/api/orders/<orderId>\n");
        println!("Or see it happen: http://{main}/admin (ADMIN_USER, ADMIN_PASSWORD)\n");
    }
}
