import Glibc
import Pipeline

/// Sends the integration mix to front ends of one tracker, and says whether every request was counted exactly once.
///
/// A request that nothing was answered to (refused, or the connection ended before the first byte of an answer) is sent again,
/// to whichever front end takes it. A front end that is stopped by SIGTERM answers whatever it has begun to read and counts
/// nothing else, so this repeats nothing that was counted, and the result is exact through such restarts. After a kill -9, or
/// where the network loses an answer, a request may have been counted without an answer: then a count may come out too high by as
/// many as were repeated.
struct TrackerCheck {
  /// One request of the mix.
  private struct Job {
    /// Which of the counters it belongs to; `nil`: an invalid token.
    let counter: Int?
    /// The front end that it is for, unless that one is away.
    let frontEnd: Int
  }

  /// A (token, path) of the mix.
  private struct Counter {
    let name: String
    let path: String
    let token: Int
    /// Requests to the first, the second and the third front end.
    let parts: [Int]

    var total: Int { parts.reduce(0, +) }
  }

  private static let counters = [
    Counter(name: "/test  with token 1", path: "/test", token: 0, parts: [500, 300, 200]),
    Counter(name: "/test2 with token 1", path: "/test2", token: 0, parts: [300, 400, 200]),
    Counter(name: "/test  with token 2", path: "/test", token: 1, parts: [500, 600]),
  ]
  private static let invalid = 1000

  private struct Slot {
    var connection: CheckConnection
    let frontEnd: Int
    var job: Job?
    var since = Instant(nanoseconds: 0)
  }

  /// Why the check could not be made.
  struct Failure: Error, CustomStringConvertible { let description: String }

  private let frontEnds: [SocketAddress]
  private let patience: Duration
  private var slots: [Slot]
  private var tokens: [Token] = []
  private let unknown: Token
  /// Until when a front end is not tried, after it was not there.
  private var awayUntil: [Instant]
  private var lastAnswer: Instant
  private(set) var repeated = 0
  /// What was answered: the counts of each counter, and how many invalid tokens were refused.
  private var counts = [[Int]](repeating: [], count: counters.count)
  private var refused = 0
  private var wrong: [String] = []

  /// - Parameters:
  ///   - connections: to each front end.
  ///   - patience: how long no answer at all may come.
  init(_ frontEnds: [SocketAddress], connections: Int, patience: Duration) {
    self.frontEnds = frontEnds
    self.patience = patience
    slots = frontEnds.indices.flatMap { index in
      (0..<connections).map { _ in Slot(connection: CheckConnection(frontEnds[index]), frontEnd: index) }
    }
    awayUntil = frontEnds.map { _ in Instant(nanoseconds: 0) }
    unknown = .random()
    lastAnswer = Self.now
  }

  /// Makes the check and prints what was found.
  ///
  /// - Returns: whether all of it is right.
  mutating func run(_ print: (String) -> Void) throws -> Bool {
    defer { for index in slots.indices { slots[index].connection.close() } }
    for _ in 0..<2 { tokens.append(try newToken()) }
    var jobs: [Job] = []
    for (number, counter) in Self.counters.enumerated() {
      for (part, count) in counter.parts.enumerated() {
        jobs += (0..<count).map { _ in Job(counter: number, frontEnd: part % frontEnds.count) }
      }
    }
    jobs += (0..<Self.invalid).map { Job(counter: nil, frontEnd: $0 % frontEnds.count) }
    try send(jobs.shuffled())
    print(
      "\(jobs.count) requests to \(frontEnds.count) front ends; \(repeated) were not taken at first and were sent again"
    )
    let mixed = counts
    var isRight = wrong.isEmpty
    for (number, counter) in Self.counters.enumerated() {
      // One more request each tells the final count.
      try send([Job(counter: number, frontEnd: number % frontEnds.count)])
      let final = counts[number].last ?? 0
      let isCountRight = final == counter.total + 1
      print("\(counter.name): \(final), " + (isCountRight ? "right" : "wrong: \(counter.total + 1) is expected"))
      isRight = isRight && isCountRight
    }
    for (number, counter) in Self.counters.enumerated() where mixed[number].sorted() != Array(1...counter.total) {
      print("\(counter.name): the answers are not each of 1 to \(counter.total) once: wrong")
      isRight = false
    }
    print(
      "an invalid token: \(refused) of \(Self.invalid) refused with 401, "
        + (refused == Self.invalid ? "right" : "wrong"))
    for line in wrong.prefix(10) { print(line) }
    return isRight && wrong.isEmpty && refused == Self.invalid
  }

  // MARK: Requests

  private static func request(_ path: String, _ token: Token?) -> [UInt8] {
    let authorization = token.map { "authorization: Bearer \($0.text)\r\n" } ?? ""
    return Array("GET \(path) HTTP/1.1\r\nhost: tracker\r\n\(authorization)\r\n".utf8)
  }

  private func request(_ job: Job) -> [UInt8] {
    guard let number = job.counter else { return Self.request("/test", unknown) }
    let counter = Self.counters[number]
    return Self.request(counter.path, tokens[counter.token])
  }

  private mutating func newToken() throws -> Token {
    let end = Self.now + patience
    var index = 0
    while true {
      var event = slots[index].connection.send(Self.request("/auth", nil))
      while case .waiting = event {
        guard Self.now < end else { throw Failure(description: "\(slots[index].connection.address) does not answer") }
        event = try ready(of: [index], atMost: 100).isEmpty ? .waiting : slots[index].connection.advance()
      }
      switch event {
      case .waiting: preconditionFailure("the loop ends when it waits no more")
      case .answered(200, let body):
        let text = String(decoding: body, as: UTF8.self)
        guard text.hasPrefix("{\"token\":\""), text.hasSuffix("\"}"),
          let token = Token(authorization: Array(text.dropFirst(10).dropLast(2).utf8).span)
        else { throw Failure(description: "/auth is answered with \"\(text.prefix(100))\"") }
        return token
      case .answered(let status, _): throw Failure(description: "/auth is answered with \(status)")
      case .unanswered(let why), .lost(let why):
        // A token that nobody knows of harms nobody, so even what was lost may be asked again.
        guard Self.now < end else { throw Failure(description: "\(slots[index].connection.address): \(why)") }
        index = (index + 1) % slots.count
        try pause(50)
      }
    }
  }

  private mutating func send(_ jobs: [Job]) throws {
    var queues = frontEnds.indices.map { index in jobs.filter { $0.frontEnd == index } }
    var left = jobs.count
    lastAnswer = Self.now
    while left > 0 {
      for index in slots.indices where slots[index].job == nil {
        guard let job = next(&queues, for: slots[index].frontEnd) else { continue }
        slots[index].job = job
        slots[index].since = Self.now
        settle(slots[index].connection.send(request(job)), index, &queues, &left)
      }
      let busy = slots.indices.filter { slots[$0].job != nil }
      for index in try ready(of: busy, atMost: 20) {
        settle(slots[index].connection.advance(), index, &queues, &left)
      }
      for index in busy where slots[index].job != nil && Self.now - slots[index].since > patience {
        settle(slots[index].connection.giveUp(), index, &queues, &left)
      }
      if Self.now - lastAnswer > patience {
        throw Failure(description: "no front end has answered for \(patience); \(left) requests are left")
      }
    }
  }

  /// A request for this front end, or one of a front end that is away.
  private func next(_ queues: inout [[Job]], for frontEnd: Int) -> Job? {
    let now = Self.now
    guard awayUntil[frontEnd] <= now else { return nil }
    if let job = queues[frontEnd].popLast() { return job }
    for other in queues.indices where now < awayUntil[other] {
      if let job = queues[other].popLast() { return job }
    }
    return nil
  }

  private mutating func settle(_ event: CheckConnection.Event, _ index: Int, _ queues: inout [[Job]], _ left: inout Int)
  {
    guard let job = slots[index].job else { return }
    switch event {
    case .waiting: return
    case .unanswered:
      repeated += 1
      awayUntil[slots[index].frontEnd] = Self.now + .milliseconds(50)
      queues[job.frontEnd].append(job)
    case .lost(let why):
      wrong.append("\(slots[index].connection.address): \(why); whether it was counted is not known")
      left -= 1
    case .answered(let status, let body):
      lastAnswer = Self.now
      left -= 1
      note(job, status, body)
    }
    slots[index].job = nil
  }

  private mutating func note(_ job: Job, _ status: Int, _ body: [UInt8]) {
    let text = String(decoding: body, as: UTF8.self)
    switch (job.counter, status) {
    case (nil, 401): refused += 1
    case (let counter?, 200):
      guard text.hasPrefix("{\"count\":"), text.hasSuffix("}"), let count = Int(text.dropFirst(9).dropLast()) else {
        return wrong.append("a request is answered with \"\(text.prefix(100))\"")
      }
      counts[counter].append(count)
    case (nil, _): wrong.append("an invalid token is answered with \(status)")
    case (_?, _): wrong.append("a known token is answered with \(status)")
    }
  }

  // MARK: Waiting

  private static var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }

  /// On which of these connections something happens within so many milliseconds.
  private func ready(of indices: [Int], atMost milliseconds: Int32) throws -> [Int] {
    var waits = indices.map { slots[$0].connection.interest }
    let count = poll(&waits, nfds_t(waits.count), milliseconds)
    if count < 0, errno != EINTR { throw Failure(description: "poll fails with \(errno)") }
    return count > 0 ? zip(indices, waits).filter { $0.1.revents != 0 }.map(\.0) : []
  }

  private func pause(_ milliseconds: Int32) throws { _ = try ready(of: [], atMost: milliseconds) }
}
