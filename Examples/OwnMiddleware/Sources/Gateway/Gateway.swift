import Badge
import Middlewares
import Pipeline
import Transports

/// A SOCKS5 proxy for the operations department.
@main
struct Gateway: ProxyApp {
  var body: some Proxy {
    Listener(.socks5, on: "127.0.0.1:8009", name: "ops") {
      BadgeAuth([
        (Employee(name: "ann", department: "ops"), "4711"), (Employee(name: "bob", department: "sales"), "4712"),
      ])
      DepartmentOnly("ops")
      Cooldown(.seconds(1))
      Timeout(.seconds(3600))
    } to: {
      Direct()
    }
  }
}

// Try:
//   swift run Gateway
//   curl --socks5-hostname ann:4711@127.0.0.1:8009 http://localhost:8000/   # passes
//   curl --socks5-hostname bob:4712@127.0.0.1:8009 http://localhost:8000/   # refused: not of ops
