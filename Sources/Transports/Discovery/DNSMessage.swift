internal import Pipeline

/// The types of records that are asked for or understood (RFC 1035, 3596, 2782).
enum DNSType: UInt16, Sendable, Hashable {
  case a = 1
  case cname = 5
  case soa = 6
  case aaaa = 28
  case srv = 33
}

/// What a name server is asked.
struct DNSQuestion: Sendable, Hashable, CustomStringConvertible {
  let name: DomainName
  let type: DNSType
  /// The name as it goes over the wire, in lower case.
  let wire: [UInt8]

  /// `nil` for a name that DNS cannot carry: an empty label, one of more than 63 bytes, or more than 255 bytes in all.
  init?(_ name: DomainName, _ type: DNSType) {
    var wire: [UInt8] = []
    for label in name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
      guard (1...63).contains(label.count) else { return nil }
      wire.append(UInt8(label.count))
      wire.append(contentsOf: label)
    }
    wire.append(0)
    guard wire.count <= 255 else { return nil }
    self.name = name
    self.type = type
    self.wire = wire
  }

  var description: String { "\(type) \(name)" }
}

/// A record of an answer, as far as it is understood.
struct DNSRecord: Sendable, Hashable {
  enum Data: Sendable, Hashable {
    case address(IPAddress)
    /// The name that is meant, in wire form.
    case alias([UInt8])
    /// `nil`: the target `.`, which says that there is no such service (RFC 2782).
    case service(priority: UInt16, weight: UInt16, port: UInt16, target: DomainName?)
    /// How long "there is none" holds, in seconds (RFC 2308).
    case authority(minimum: UInt32)
  }

  /// Whose record it is, in wire form and lower case.
  var owner: [UInt8]
  /// Seconds.
  var timeToLive: UInt32
  var data: Data
}

/// Bytes that are no answer.
struct DNSFault: Error, Hashable, CustomStringConvertible {
  let description: String
}

/// An answer of a name server.
struct DNSResponse: Sendable {
  enum Code: Sendable, Hashable {
    case good
    /// There is no such name (NXDOMAIN).
    case noName
    /// SERVFAIL, REFUSED, …: this server does not say.
    case failed(UInt8)
  }

  var id: UInt16
  var isTruncated: Bool
  var code: Code
  /// Of the question that is answered, in wire form and lower case.
  private var questionName: [UInt8]
  private var questionType: UInt16
  var answers: [DNSRecord]
  var authority: [DNSRecord]
  var additional: [DNSRecord]

  /// Whether it is the answer to this very question: an answer to another, late or forged, is not taken.
  func answers(_ question: DNSQuestion, id: UInt16) -> Bool {
    self.id == id && questionName == question.wire && questionType == question.type.rawValue
  }

  /// - Throws: ``DNSFault`` for bytes that are no answer to one question of class IN.
  init(_ bytes: [UInt8]) throws(DNSFault) {
    var reader = DNSReader(bytes)
    id = try reader.word()
    let flags = try reader.word()
    guard flags & 0x8000 != 0, flags & 0x7800 == 0 else { throw DNSFault(description: "it is no answer to a query") }
    isTruncated = flags & 0x0200 != 0
    code =
      switch flags & 0x000f {
      case 0: .good
      case 3: .noName
      case let other: .failed(UInt8(other))
      }
    let questions = try reader.word()
    let counts = (try reader.word(), try reader.word(), try reader.word())
    guard questions == 1 else { throw DNSFault(description: "it repeats \(questions) questions, not 1") }
    questionName = try reader.name()
    questionType = try reader.word()
    guard try reader.word() == 1 else { throw DNSFault(description: "its question is not of class IN") }
    (answers, authority, additional) = ([], [], [])
    // What is cut off is asked for again over TCP; the records that are there say nothing reliable.
    if isTruncated { return }
    answers = try reader.records(counts.0)
    authority = try reader.records(counts.1)
    additional = try reader.records(counts.2)
  }

  /// The addresses of a name among the answers, through its aliases, and the shortest time that one of the records holds.
  func addresses(of name: [UInt8]) -> (addresses: [IPAddress], timeToLive: UInt32)? {
    var owner = name
    var timeToLive = UInt32.max
    // As many aliases as resolvers follow; a ring of them ends here, too.
    for _ in 0..<16 {
      var found: [IPAddress] = []
      var alias: [UInt8]?
      for record in answers + additional where record.owner == owner {
        switch record.data {
        case .address(let address):
          if !found.contains(address) { found.append(address) }
        case .alias(let target): alias = target
        case .service, .authority: continue
        }
        timeToLive = min(timeToLive, record.timeToLive)
      }
      if !found.isEmpty { return (found, timeToLive) }
      guard let alias else { return nil }
      owner = alias
    }
    return nil
  }

  /// How long "there is none" holds, where the answer says so.
  var negativeTimeToLive: UInt32? {
    for record in authority {
      if case .authority(let minimum) = record.data { return min(minimum, record.timeToLive) }
    }
    return nil
  }
}

extension DNSQuestion {
  /// The size of answers that are taken over UDP: what fits every path without fragments (the DNS flag day of 2020).
  static let datagramSize = 1232

  /// The query: recursion desired, one question of class IN, EDNS (RFC 6891) for the size.
  func query(id: UInt16) -> [UInt8] {
    var bytes: [UInt8] = []
    func add(_ word: UInt16) {
      bytes.append(UInt8(word >> 8))
      bytes.append(UInt8(word & 0xff))
    }
    for word in [id, 0x0100, 1, 0, 0, 1] as [UInt16] { add(word) }
    bytes.append(contentsOf: wire)
    add(type.rawValue)
    add(1)
    // The OPT record: the root's name, type 41, our size, no flags, no data.
    bytes.append(0)
    for word in [41, UInt16(Self.datagramSize), 0, 0, 0] as [UInt16] { add(word) }
    return bytes
  }
}

/// Reads a message from its begin to its end; never beyond it.
private struct DNSReader {
  /// Pointers that are followed for one name. A name of 255 bytes has no more labels, and who compresses points at labels; a
  /// chain of pointers to pointers, followed for each of a thousand records, would hold the loop.
  private static let mostPointers = 127

  private let bytes: [UInt8]
  private var place = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func byte() throws(DNSFault) -> UInt8 {
    guard place < bytes.count else { throw DNSFault(description: "it ends after \(bytes.count) bytes, too early") }
    defer { place += 1 }
    return bytes[place]
  }

  mutating func word() throws(DNSFault) -> UInt16 { UInt16(try byte()) << 8 | UInt16(try byte()) }

  mutating func long() throws(DNSFault) -> UInt32 { UInt32(try word()) << 16 | UInt32(try word()) }

  /// A name in wire form and lower case. A pointer (RFC 1035, 4.1.4) must point before the name's part that it stands in: so
  /// every chain of them ends.
  mutating func name() throws(DNSFault) -> [UInt8] {
    var out: [UInt8] = []
    var after: Int?
    var earliest = place
    var pointers = 0
    while true {
      let length = try byte()
      switch length & 0xc0 {
      case 0x00:
        out.append(length)
        guard out.count + Int(length) <= 255 else {
          throw DNSFault(description: "it has a name of more than 255 bytes")
        }
        if length == 0 {
          if let after { place = after }
          return out
        }
        for _ in 0..<length {
          let letter = try byte()
          out.append((UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(letter) ? letter | 0x20 : letter)
        }
      case 0xc0:
        let target = Int(length & 0x3f) << 8 | Int(try byte())
        guard target < earliest else { throw DNSFault(description: "it has a name that points forward") }
        pointers += 1
        guard pointers <= Self.mostPointers else {
          throw DNSFault(description: "it has a name of more than \(Self.mostPointers) pointers")
        }
        if after == nil { after = place }
        (place, earliest) = (target, target)
      default: throw DNSFault(description: "it has a label of an unknown kind")
      }
    }
  }

  /// Records; those that are not understood are passed over.
  mutating func records(_ count: UInt16) throws(DNSFault) -> [DNSRecord] {
    var records: [DNSRecord] = []
    for _ in 0..<count {
      let owner = try name()
      let type = try word()
      let kind = try word()
      // A time with its highest bit set is none (RFC 2181, 8).
      let said = try long()
      let length = Int(try word())
      let end = place + length
      guard end <= bytes.count else { throw DNSFault(description: "it has a record that goes beyond its end") }
      if kind == 1, let type = DNSType(rawValue: type), let data = try data(type, length) {
        guard place <= end else { throw DNSFault(description: "it has a record that is longer than it says") }
        records.append(DNSRecord(owner: owner, timeToLive: said > Int32.max ? 0 : said, data: data))
      }
      place = end
    }
    return records
  }

  private mutating func data(_ type: DNSType, _ length: Int) throws(DNSFault) -> DNSRecord.Data? {
    switch type {
    case .a, .aaaa:
      guard length == (type == .a ? 4 : 16) else { throw DNSFault(description: "it has an address of \(length) bytes") }
      return IPAddress(bytes: bytes.span.extracting(place..<(place + length))).map { .address($0) }
    case .cname: return .alias(try name())
    case .srv:
      let (priority, weight, port) = (try word(), try word(), try word())
      let target = try name()
      if target == [0] { return .service(priority: priority, weight: weight, port: port, target: nil) }
      // A target that is no host name cannot be asked for.
      guard let host = Self.host(target) else { return nil }
      return .service(priority: priority, weight: weight, port: port, target: host)
    case .soa:
      _ = (try name(), try name())
      _ = (try long(), try long(), try long(), try long())
      return .authority(minimum: try long())
    }
  }

  private static func host(_ wire: [UInt8]) -> DomainName? {
    var text: [UInt8] = []
    var place = 0
    while wire[place] != 0 {
      let length = Int(wire[place])
      let label = wire[(place + 1)...(place + length)]
      // A dot within a label would make two of it.
      if label.contains(UInt8(ascii: ".")) { return nil }
      if !text.isEmpty { text.append(UInt8(ascii: ".")) }
      text.append(contentsOf: label)
      place += length + 1
    }
    return DomainName(text.span)
  }
}
