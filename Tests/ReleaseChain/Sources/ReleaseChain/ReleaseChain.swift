import Pipeline

/// Two listeners of forty and more elements of every shape that the builder knows. Prints how many each has.
@main
struct ReleaseChain {
  static func main() throws {
    let shared = Chain {
      Gate(number: 1)
      After(value: "shared")
      Again()
    }
    let strict = CommandLine.arguments.count < 2
    let socks5 = Listener(.socks5, on: "127.0.0.1:0") {
      shared
      Gate(number: 2)
      After(value: 3)
      Again()
      if strict {
        Gate(number: 4)
        After(value: "four")
      }
      for number in 5..<10 { Gate(number: number) }
      Welcome()
      GuestOnly(limit: 10)
      Anybody()
      Gate(number: 11).named("eleven")
      GuestOnly(limit: 12).named("twelve")
      Gate(number: 13).shadow { _ in }
      if strict {
        GuestOnly(limit: 14)
        Anybody()
      } else {
        GuestOnly(limit: 15)
      }
      shared
      After(value: 16.0)
      Gate(number: 17)
      Anybody()
      Gate(number: 18)
      After(value: "nineteen")
      Again()
      Gate(number: 20)
      GuestOnly(limit: 21)
      if strict { Gate(number: 22) }
      Anybody()
      Gate(number: 23)
      After(value: [24])
      Gate(number: 25)
      GuestOnly(limit: 26)
      Gate(number: 27)
    } to: {
      if strict { Nowhere() } else { Nowhere() }
    }

    let http = Listener(.http, on: "127.0.0.1:0") {
      shared
      Stamp()
      Gate(number: 1)
      Stamp()
      for number in 2..<12 { Gate(number: number) }
      After(value: "twelve")
      Stamp()
      Again()
      if strict { Stamp() } else { Gate(number: 13) }
      Welcome()
      GuestOnly(limit: 14)
      Stamp()
      Anybody()
      Gate(number: 15)
      Stamp()
      After(value: 16)
      shared
      Gate(number: 17).named("seventeen")
      Stamp()
      GuestOnly(limit: 18)
      Gate(number: 19)
      Stamp()
      Anybody()
      Gate(number: 20)
      Again()
    } to: {
      Route("/guests") {
        GuestOnly(limit: 21)
        Stamp()
        Gate(number: 22)
      } to: {
        Respond(204)
      }
      Respond(404)
    }

    for (name, count) in [
      ("socks5", try Service(socks5, shards: 1).placement.count),
      ("http", try Service(http, shards: 1).placement.count),
    ] {
      precondition(count >= 40, "the \(name) chain has \(count) elements only")
      print("\(name): \(count) elements")
    }
  }
}
