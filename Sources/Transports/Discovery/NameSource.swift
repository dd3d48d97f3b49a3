internal import Pipeline

/// A name whose addresses, or a service whose places, are the backends.
struct NameSource: Sendable, CustomStringConvertible {
  enum Subject: Sendable {
    /// `host:port`.
    case addresses(String)
    case service(String)
  }

  /// Places that are taken at most.
  static let placeLimit = 1000

  private let subject: Subject
  private let family: Way.Family
  private let serverTexts: [String]
  let pacing: NamePacing

  init(
    _ subject: Subject, _ family: Way.Family, atLeast: Duration, atMost: Duration, hold: Duration, servers: [String]
  ) {
    self.subject = subject
    self.family = family
    serverTexts = servers
    pacing = NamePacing(atLeast: atLeast, atMost: atMost, hold: hold)
  }

  var description: String {
    switch subject {
    case .addresses(let address): "dns \(address)"
    case .service(let service): "srv \(service)"
    }
  }

  /// Those that are named.
  var servers: [SocketAddress] { serverTexts.compactMap(Self.server) }

  private static func server(_ text: String) -> SocketAddress? {
    if let address = IPAddress(text) { return .ip(address, port: 53) }
    guard let endpoint = Endpoint(text), case .ip(let address) = endpoint.host, endpoint.port != 0 else { return nil }
    return .ip(address, port: endpoint.port)
  }

  private var endpoint: (name: DomainName, port: UInt16)? {
    guard case .addresses(let text) = subject, let endpoint = Endpoint(text), endpoint.port != 0,
      case .name(let name) = endpoint.host
    else { return nil }
    return (name, endpoint.port)
  }

  var problems: [String] {
    var problems: [String] = []
    switch subject {
    case .addresses(let text):
      if let endpoint {
        if DNSQuestion(endpoint.name, .a) == nil { problems.append("\(self): no name of DNS: labels of 1...63 bytes") }
      } else if let endpoint = Endpoint(text), case .ip = endpoint.host {
        problems.append("\(self): an address needs no discovery: write Backend(\"\(text)\")")
      } else {
        problems.append("\(self): write host:port, with a port of 1...65535")
      }
    case .service(let text):
      if DomainName(text).flatMap({ DNSQuestion($0, .srv) }) == nil {
        problems.append("\(self): write the whole name of a service: _http._tcp.web.internal")
      }
    }
    if pacing.atLeast <= .zero || pacing.atMost < pacing.atLeast {
      problems.append(
        "\(self): answers are kept at least \(pacing.atLeast) and at most \(pacing.atMost): "
          + "more than 0 seconds is allowed, and at most no less than at least")
    }
    if pacing.hold < .zero { problems.append("\(self): a hold of \(pacing.hold): 0 seconds or more is allowed") }
    for text in serverTexts where Self.server(text) == nil {
      problems.append("\(self): \"\(text)\" is no name server: write 1.2.3.4 or 1.2.3.4:53")
    }
    return problems
  }

  // MARK: Looking

  /// - Parameter publish: throws when the list cannot be used.
  func run(
    _ services: any BackgroundServices, asking client: any DNSAsking,
    publish: @escaping @Sendable ([BackendSource.Place]) throws -> Void
  ) async throws {
    let source = self
    let loop = Int(services.randomBits() % UInt64(max(1, services.loops)))
    try await services.run(on: loop) { runtime in
      var watch = NameWatch(source.pacing)
      var memory = AddressMemory()
      while true {
        let found = try await source.look(client, runtime, &memory)
        let step = watch.take(found, now: runtime.now, dice: runtime.randomBits())
        if let note = step.note { runtime.log(note.level, "\(source): \(note.text)") }
        if let places = step.publish {
          do {
            try publish(places)
          } catch {
            runtime.log(.warning, "\(source): the list cannot be used, and the last one stays: \(error)")
          }
        }
        try await runtime.sleep(until: runtime.now + step.wait)
      }
    }
  }

  private func look(
    _ client: any DNSAsking, _ runtime: LoopRuntime, _ memory: inout AddressMemory
  ) async throws -> NameFinding {
    switch subject {
    case .addresses:
      guard let endpoint else { return .failed("it cannot be read") }
      return try await addresses(of: endpoint.name, client, runtime, &memory).places(port: endpoint.port, weight: 1)
    case .service(let text):
      guard let name = DomainName(text), let question = DNSQuestion(name, .srv) else {
        return .failed("it cannot be read")
      }
      return try await services(question, client, runtime, &memory)
    }
  }

  /// Both families; one that cannot be asked for now is what it was.
  private func addresses(
    of name: DomainName, _ client: any DNSAsking, _ runtime: LoopRuntime, _ memory: inout AddressMemory
  ) async throws -> NameAddresses {
    var sum = NameAddresses()
    for type in types {
      guard let question = DNSQuestion(name, type) else { continue }
      do {
        let response = try await client.ask(question, on: runtime)
        sum.add(memory.learn(response, question))
      } catch let failure as DNSFailure {
        sum.addStale(memory.recall(question, failure), failure)
      }
    }
    return sum
  }

  private var types: [DNSType] {
    switch family {
    case .ipv4Only: [.a]
    case .ipv6Only: [.aaaa]
    case .resolver, .ipv4: [.a, .aaaa]
    case .ipv6: [.aaaa, .a]
    }
  }

  private func services(
    _ question: DNSQuestion, _ client: any DNSAsking, _ runtime: LoopRuntime, _ memory: inout AddressMemory
  ) async throws -> NameFinding {
    let response: DNSResponse
    do {
      response = try await client.ask(question, on: runtime)
    } catch let failure as DNSFailure {
      return .failed(failure.description)
    }
    let services = ServiceRecords(response, question)
    guard !services.targets.isEmpty else { return .none(timeToLive: response.negativeTimeToLive) }
    var places: [BackendSource.Place] = []
    var timeToLive = services.timeToLive
    var failure: String?
    for target in services.targets.prefix(Self.placeLimit) {
      var found = NameAddresses()
      if let known = response.addresses(of: target.wire) {
        // What the server sends along spares the questions.
        found.add(.found(known.addresses.filter(takes), timeToLive: known.timeToLive))
      }
      if found.addresses.isEmpty { found = try await addresses(of: target.name, client, runtime, &memory) }
      switch found.places(port: target.port, weight: target.weight, priority: target.priority) {
      case .found(let more, let holds):
        places += more
        timeToLive = min(timeToLive, holds)
      case .none: continue
      // A reserve that was never known is missed by nobody yet, and asked for again as soon as may be.
      case .failed where target.priority > 0: timeToLive = 0
      case .failed(let why): failure = why
      }
    }
    // Half a list would shift the load of those that are missing to the others.
    if let failure { return .failed(failure) }
    if places.isEmpty { return .none(timeToLive: timeToLive) }
    return .found(places, timeToLive: timeToLive)
  }

  private func takes(_ address: IPAddress) -> Bool {
    switch family {
    case .resolver, .ipv4, .ipv6: true
    case .ipv4Only: !address.isIPv6
    case .ipv6Only: address.isIPv6
    }
  }
}

/// The targets of an SRV answer (RFC 2782), best priority first, with weights that ``Backend`` takes.
struct ServiceRecords: Sendable {
  struct Target: Sendable, Hashable {
    var name: DomainName
    var wire: [UInt8]
    var port: UInt16
    /// 1...10,000: in the proportion of the records of one priority; 0 there, "a very small chance", is the smallest here.
    var weight: Int
    /// 0 for the best, whatever its record says; the others by their distance from it.
    var priority: Int
  }

  private(set) var targets: [Target] = []
  private(set) var timeToLive = UInt32.max

  init(_ response: DNSResponse, _ question: DNSQuestion) {
    var most: [UInt16: UInt16] = [:]
    var taken: [(target: DomainName, priority: UInt16, weight: UInt16, port: UInt16)] = []
    for record in response.answers where record.owner == question.wire {
      guard case .service(let priority, let weight, let port, let target?) = record.data, port != 0 else { continue }
      timeToLive = min(timeToLive, record.timeToLive)
      taken.append((target, priority, weight, port))
      most[priority] = max(most[priority] ?? 1, weight)
    }
    guard let best = taken.map(\.priority).min() else { return }
    for (target, priority, weight, port) in taken {
      guard let wire = DNSQuestion(target, .a)?.wire else { continue }
      let most = Int(most[priority] ?? 1)
      let scaled = most > 10_000 ? Int(weight) * 10_000 / most : Int(weight)
      targets.append(
        Target(name: target, wire: wire, port: port, weight: max(1, scaled), priority: Int(priority - best)))
    }
    targets.sort { $0.priority < $1.priority }
  }
}
