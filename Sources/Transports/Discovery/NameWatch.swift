internal import Pipeline

/// How long answers hold, whatever they say.
struct NamePacing: Sendable, Hashable {
  var atLeast: Duration
  var atMost: Duration
  /// How long "there is none" must last until it is believed.
  var hold: Duration
}

/// What one look at a name brought.
enum NameFinding: Sendable, Hashable {
  /// Seconds that it holds.
  case found([BackendSource.Place], timeToLive: UInt32)
  /// There is no such name, or it has no address: the servers say so.
  case none(timeToLive: UInt32?)
  /// Nobody said anything that counts.
  case failed(String)
}

/// What follows from the answers about a name, as a pure value: when the list changes, when to ask again, what the log hears.
///
/// - An answer is kept as long as it says, within the bounds, and a little longer, so that many processes do not ask at once.
/// - "There is none" empties the list only when it has lasted: a zone that is being written, or a service that restarts, shows
///   it for a moment.
/// - A failure changes nothing, ever; it is asked again after 1 s, 2 s, 4 s, … up to `atLeast` or 30 s, whichever is more.
struct NameWatch: Sendable {
  struct Note: Sendable, Hashable {
    var level: LogLevel
    var text: String
  }

  struct Step: Sendable, Hashable {
    /// `nil`: the list stays as it is.
    var publish: [BackendSource.Place]?
    var note: Note?
    var wait: Duration
  }

  private enum State: Sendable, Hashable {
    case unknown
    case known
    /// The servers say that there is none, since then.
    case missing(since: Instant)
    /// It was believed, and the list is empty.
    case gone
    case failing(times: Int)
  }

  private let pacing: NamePacing
  private var state = State.unknown
  private var published: Set<BackendSource.Place>?

  init(_ pacing: NamePacing) { self.pacing = pacing }

  /// - Parameter dice: random bits.
  mutating func take(_ finding: NameFinding, now: Instant, dice: UInt64) -> Step {
    switch finding {
    case .found(let places, let timeToLive):
      let note = recovered(places.count)
      state = .known
      // The order says nothing: name servers turn it at each answer.
      let isNew = published != Set(places)
      if isNew { published = Set(places) }
      return Step(publish: isNew ? sorted(places) : nil, note: note, wait: kept(timeToLive, dice))
    case .none(let timeToLive):
      return missing(timeToLive, now, dice)
    case .failed(let why):
      let times: Int
      let note: Note?
      if case .failing(let before) = state {
        (times, note) = (before + 1, nil)
      } else {
        let stays = published == nil ? "no backend is known yet" : "the last list stays"
        (times, note) = (1, Note(level: .warning, text: "\(why); \(stays)"))
      }
      state = .failing(times: times)
      return Step(
        note: note, wait: spread(min(.seconds(1 << min(times - 1, 10)), max(pacing.atLeast, .seconds(30))), dice))
    }
  }

  private mutating func missing(_ timeToLive: UInt32?, _ now: Instant, _ dice: UInt64) -> Step {
    let since: Instant
    var note: Note?
    switch state {
    case .gone: return Step(wait: kept(timeToLive ?? 0, dice))
    case .missing(let before): since = before
    case .unknown, .known, .failing:
      since = now
      let held = published?.isEmpty == false && pacing.hold > .zero ? "; the last list stays for \(pacing.hold)" : ""
      note = Note(level: .warning, text: "there is no such name, or it has no address\(held)")
    }
    if published?.isEmpty == false, now < since + pacing.hold {
      state = .missing(since: since)
      return Step(note: note, wait: min(kept(timeToLive ?? 0, dice), since + pacing.hold - now))
    }
    let wasKnown = published?.isEmpty == false
    state = .gone
    if wasKnown, note == nil { note = Note(level: .warning, text: "there is no such name any more: the list is empty") }
    let isNew = published?.isEmpty != true
    published = []
    return Step(publish: isNew ? [] : nil, note: note, wait: kept(timeToLive ?? 0, dice))
  }

  private func recovered(_ count: Int) -> Note? {
    switch state {
    case .unknown, .known: nil
    case .missing, .gone, .failing: Note(level: .notice, text: "it is answered again: \(count) backends")
    }
  }

  private func kept(_ seconds: UInt32, _ dice: UInt64) -> Duration {
    spread(min(max(.seconds(Int64(seconds)), pacing.atLeast), pacing.atMost), dice)
  }

  /// Up to a tenth longer.
  private func spread(_ duration: Duration, _ dice: UInt64) -> Duration {
    duration + duration * (Double(dice >> 11) / Double(1 << 53) * 0.1)
  }

  private func sorted(_ places: [BackendSource.Place]) -> [BackendSource.Place] {
    // One place may be the target of two records: the one of the better priority stands first.
    var seen: Set<String> = []
    return places.filter { seen.insert($0.address).inserted }.sorted { $0.address < $1.address }
  }
}

/// What the questions about one name brought together.
struct NameAddresses: Sendable {
  private(set) var addresses: [IPAddress] = []
  private var timeToLive = UInt32.max
  private var negativeTimeToLive: UInt32?
  private var failure: String?
  private var hasFreshAnswer = false

  enum Answer: Sendable, Hashable {
    case found([IPAddress], timeToLive: UInt32)
    case none(timeToLive: UInt32?)
    case failed(String)
  }

  /// What is known of a question that nobody answers now. When nobody answers any question, that is a failure.
  mutating func addStale(_ answer: Answer, _ failure: DNSFailure) {
    let wasFresh = hasFreshAnswer
    add(answer)
    hasFreshAnswer = wasFresh
    self.failure = self.failure ?? failure.description
  }

  mutating func add(_ answer: Answer) {
    hasFreshAnswer = true
    switch answer {
    case .found(let more, let holds):
      for address in more where !addresses.contains(address) { addresses.append(address) }
      timeToLive = min(timeToLive, holds)
    // Without a word of how long it holds it is asked again as soon as may be.
    case .none(let holds): negativeTimeToLive = min(negativeTimeToLive ?? .max, holds ?? 0)
    case .failed(let why): failure = failure ?? why
    }
  }

  func places(port: UInt16, weight: Int, priority: Int = 0) -> NameFinding {
    if let failure, addresses.isEmpty || !hasFreshAnswer { return .failed(failure) }
    if addresses.isEmpty {
      return .none(timeToLive: negativeTimeToLive)
    }
    let places = addresses.map {
      BackendSource.Place(Endpoint(.ip($0), port: port).description, weight: weight, priority: priority)
    }
    return .found(places, timeToLive: timeToLive)
  }
}

/// The last answer to each question: so a server that answers for one family only takes no backend of the other away.
struct AddressMemory: Sendable {
  private var known: [DNSQuestion: [IPAddress]] = [:]

  mutating func learn(_ response: DNSResponse, _ question: DNSQuestion) -> NameAddresses.Answer {
    guard response.code == .good, let found = response.addresses(of: question.wire) else {
      known[question] = []
      return .none(timeToLive: response.negativeTimeToLive)
    }
    known[question] = found.addresses
    return .found(found.addresses, timeToLive: found.timeToLive)
  }

  /// What is known of a question that nobody answers now: held for as short as can be.
  func recall(_ question: DNSQuestion, _ failure: DNSFailure) -> NameAddresses.Answer {
    guard let addresses = known[question] else { return .failed(failure.description) }
    return addresses.isEmpty ? .none(timeToLive: 0) : .found(addresses, timeToLive: 0)
  }
}
