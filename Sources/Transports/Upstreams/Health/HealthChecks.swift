internal import Pipeline
internal import Synchronization

extension UpstreamGroup {
  /// The background task of a group: keeps a task for every backend that asks it from time to time, also for those that come
  /// later.
  func run(_ services: any BackgroundServices) async throws {
    let (arriving, arrivals) = AsyncStream<Seat>.makeStream()
    watch.withLock {
      $0.services = services
      $0.arrivals = arrivals
    }
    defer { watch.withLock { $0.arrivals = nil } }
    guard configuration.health != nil else {
      // Nothing to ask; only what happens is logged, for as long as the app runs.
      for seat in seats where seat.live.update({ $0.health.forgetChecks(at: clock()) }) {
        noteStanding(of: seat, at: clock())
      }
      for await _ in arriving {}
      return
    }
    try await withThrowingDiscardingTaskGroup { tasks in
      // One that comes between the two is seen in both; the second task finds it watched and ends.
      for seat in seats { tasks.addTask { try await self.check(seat, services) } }
      for await seat in arriving { tasks.addTask { try await self.check(seat, services) } }
    }
  }

  /// Asks one backend until it is out of the list.
  private func check(_ seat: Seat, _ services: any BackgroundServices) async throws {
    guard let health = configuration.health else { return }
    let live = seat.live
    try await services.run(on: live.number % services.loops) { runtime in
      let bell = runtime.bell
      let isFirst = live.update { record in
        if record.checkBell != nil { return false }
        record.checkBell = bell
        return true
      }
      // A reload hands the backend on before the task of the old list has ended: the youngest asks.
      if !isFirst { live.update { $0.checkBell = bell } }
      defer {
        live.update { record in if record.checkBell === bell { record.checkBell = nil } }
      }
      let probe = HealthProbe(health, live)
      // Not all at once, and not late: the first answer decides.
      var next = runtime.now + health.interval * (Double(runtime.randomBits() >> 11) / Double(1 << 53) * 0.1)
      while self.isListed(live), live.read({ $0.checkBell === bell }) {
        if next > runtime.now {
          try await runtime.wait(for: nil, writing: false, until: next)
          continue
        }
        next = runtime.now + health.interval(runtime.randomBits())
        if live.office == .disabled { continue }
        let began = runtime.now
        let answer = try await probe.ask(runtime)
        self.noteCheck(seat, answer, took: runtime.now - began, at: runtime.now)
      }
    }
  }

  private func isListed(_ live: LiveBackend) -> Bool { seats.contains { $0.live === live } }

  private func noteCheck(_ seat: Seat, _ answer: HealthProbe.Answer, took: Duration, at now: Instant) {
    guard let health = configuration.health else { return }
    let hasChanged = seat.live.update { record in
      record.lastCheck = LiveBackend.LastCheck(passed: answer.isWell, detail: answer.detail, took: took, at: now)
      if answer.isWell {
        record.checksPassed &+= 1
        return record.health.checkPassed(rise: health.rise, at: now)
      }
      record.checksFailed &+= 1
      return record.health.checkFailed(answer.detail, fall: health.fall, at: now)
    }
    if hasChanged { noteStanding(of: seat, at: now) }
  }
}

/// One active check of one backend.
struct HealthProbe: Sendable {
  struct Answer: Sendable, Equatable {
    var isWell: Bool
    /// `200`, `status 503`, `connectionRefused`, …
    var detail: String
  }

  /// Bytes of an answer's body that are looked at.
  private static let bodyLimit = 64 * 1024

  private let health: HealthCheck
  private let target: UpstreamTarget
  private let link: UpstreamLink
  private let request: [UInt8]

  init(_ health: HealthCheck, _ live: LiveBackend) {
    self.health = health
    target = health.port.flatMap { live.target.with(port: $0) } ?? live.target
    link = live.link
    var request: [UInt8] = []
    if let version = live.link.proxyProtocol { ProxyProtocolWriter.appendLocal(version, to: &request) }
    switch health.question {
    case .tcp(let send, _): request += send
    case .http(let question):
      var head = HTTPRequestHead(method: question.method, target: question.path)
      head.fields.add("user-agent", "sluice-health")
      head.fields.add("accept", "*/*")
      head.fields.add("connection", "close")
      let host = question.host ?? (live.target.text.hasPrefix("unix:") ? "localhost" : live.target.text)
      HeadSerializer.append(head, OutgoingRequest(), host: Array(host.utf8), to: &request)
    }
    self.request = request
  }

  /// - Throws: `CancellationError` only.
  func ask(_ runtime: LoopRuntime) async throws -> Answer {
    runtime.deadline = runtime.now + health.timeout
    defer { runtime.deadline = .distantFuture }
    do {
      let destination = try await target.destination(for: runtime, by: link.way)
      let stream = try await runtime.connect(to: destination, by: link.way, timeout: health.timeout)
      // A check leaves no connection in TIME_WAIT at either end, and no half-read answer at the backend.
      defer { stream.abort() }
      return try await talk(stream, runtime)
    } catch let error as CancellationError {
      throw error
    } catch is DeadlineExceeded {
      return Answer(isWell: false, detail: "no answer within \(health.timeout)")
    } catch let rejection as Rejection {
      return Answer(isWell: false, detail: rejection.description)
    } catch {
      return Answer(isWell: false, detail: "\(error)")
    }
  }

  private func talk(_ stream: any ByteStream, _ runtime: LoopRuntime) async throws -> Answer {
    switch health.question {
    case .tcp(_, let expect):
      if !request.isEmpty { try await runtime.write(request, to: stream) }
      var received: [UInt8] = []
      while received.count < expect.count {
        guard received.elementsEqual(expect.prefix(received.count)) else { break }
        let isOpen = try await runtime.read(from: stream, into: &received, atMost: expect.count - received.count)
        if !isOpen { return Answer(isWell: false, detail: "closed before it answered") }
      }
      let isWell = received.starts(with: expect)
      return Answer(isWell: isWell, detail: isWell ? (expect.isEmpty ? "connected" : "answered") : "another answer")
    case .http(let question):
      var talk = OriginTalk(stream, stream.remoteAddress, question.method, HTTPOptions(), from: "it")
      guard let response = try await talk.ask(request, on: runtime, atMost: Self.bodyLimit) else {
        return Answer(isWell: false, detail: "closed without an answer")
      }
      guard question.statuses.contains(response.status) else {
        return Answer(isWell: false, detail: "status \(response.status)")
      }
      if let wanted = question.body, !String(decoding: response.body, as: UTF8.self).contains(wanted) {
        return Answer(
          isWell: false, detail: "status \(response.status), and a body without the text that it should hold")
      }
      return Answer(isWell: true, detail: "status \(response.status)")
    }
  }
}
