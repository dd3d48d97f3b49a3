public import Pipeline

/// Something that every ``Cache`` has to do; whoever writes one runs them all against it.
///
/// ```swift
/// @Test(arguments: CacheFact.all) func isACache(_ fact: CacheFact) async throws {
///   try await fact.check(cache) { clock.advance(by: $0) }
/// }
/// ```
/// Each fact uses groups of its own, so one cache may serve all of them, at once, and also after an earlier run.
public struct CacheFact: Sendable, CustomStringConvertible {
  public let description: String
  private let body: @Sendable (CacheSubject) async throws -> Void

  init(_ name: String, _ body: @escaping @Sendable (CacheSubject) async throws -> Void) {
    description = name
    self.body = body
  }

  public static var all: [CacheFact] { values + counters + takes + lifetimes + contention }

  /// Checks it.
  ///
  /// - Parameter pass: lets the cache's time pass: moves a manual clock, or waits.
  /// - Throws: ``CacheFailure``; what the cache throws where it should not.
  public func check(_ cache: any Cache, pass: @escaping @Sendable (Duration) async throws -> Void) async throws {
    try await body(CacheSubject(cache: cache, tag: "\(UInt64.random(in: .min ... .max))", pass: pass))
  }
}

/// What a cache did wrong.
public struct CacheFailure: Error, CustomStringConvertible {
  public let description: String
}

/// The cache under test, with groups that nobody has used.
struct CacheSubject: Sendable {
  let cache: any Cache
  let tag: String
  let pass: @Sendable (Duration) async throws -> Void

  /// A key of this test's own.
  func key(_ name: String = "", in group: String = "") -> CacheKey { CacheKey("fact \(tag) \(group)", name) }

  func get(_ key: CacheKey) async throws -> String? {
    try await cache.get(key, on: nil).map { String(decoding: $0, as: UTF8.self) }
  }

  func add(
    _ delta: Int, _ key: CacheKey, requiring guardKey: CacheKey? = nil, _ lifetime: CacheLifetime = .forever
  ) async throws -> Int? {
    try await cache.add(delta, to: key, requiring: guardKey, lifetime: lifetime, on: nil)
  }

  func swap(
    _ key: CacheKey, _ expected: String?, _ new: String?, _ lifetime: CacheLifetime = .forever
  ) async throws -> Bool {
    try await cache.compareAndSet(
      key, expected: expected.map { Array($0.utf8) }, new: new.map { Array($0.utf8) }, lifetime: lifetime, on: nil)
  }

  func take(_ counters: (CacheKey, cost: Int, limit: Int)..., lifetime: CacheLifetime = .forever) async throws
    -> CacheTaken
  {
    try await cache.take(
      counters.map { CacheTake($0.0, cost: $0.cost, limit: $0.limit, lifetime: lifetime) }, on: nil)
  }

  func expect<Value: Equatable>(_ value: Value, _ expected: Value, _ what: String) throws {
    if value != expected { throw CacheFailure(description: "\(what): \(expected) is expected, it is \(value)") }
  }

  func expect(_ error: CacheError, _ what: String, _ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch let thrown as CacheError {
      return try expect(thrown, error, what)
    }
    throw CacheFailure(description: "\(what): \(error) is expected, nothing is thrown")
  }

  /// Lets time pass until it is so; a cache whose time is real is given far more than it needs.
  func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    for _ in 0..<400 {
      if try await condition() { return }
      try await pass(.milliseconds(50))
    }
    throw CacheFailure(description: "\(what): not within 20 seconds")
  }
}

// MARK: - Values and counters

extension CacheFact {
  static let values: [CacheFact] = [
    CacheFact("what was never set is not there") { subject in
      try subject.expect(try await subject.get(subject.key("none")), nil, "get")
    },
    CacheFact("a value is set where the expected one stands, and nothing is changed where another does") { subject in
      let key = subject.key("value")
      try subject.expect(try await subject.swap(key, "", "a"), false, "an empty value is not there")
      try subject.expect(try await subject.swap(key, nil, "a"), true, "none is there")
      try subject.expect(try await subject.swap(key, nil, "b"), false, "one is there")
      try subject.expect(try await subject.swap(key, "b", "c"), false, "another is there")
      try subject.expect(try await subject.get(key), "a", "nothing has changed")
      try subject.expect(try await subject.swap(key, "a", "b"), true, "the expected one is there")
      try subject.expect(try await subject.swap(key, "b", ""), true, "it becomes empty")
      try subject.expect(try await subject.get(key), "", "an empty value")
      try subject.expect(try await subject.swap(key, "x", nil), false, "another is there")
      try subject.expect(try await subject.swap(key, "", nil), true, "it is removed")
      try subject.expect(try await subject.get(key), nil, "it is gone")
      try subject.expect(try await subject.swap(key, nil, nil), true, "nothing instead of nothing")
    },
    CacheFact("a value is any bytes") { subject in
      let key = subject.key("bytes")
      let bytes = [UInt8](0...255) + Array("\r\n$5\r\n".utf8)
      let isSet = try await subject.cache.compareAndSet(key, expected: nil, new: bytes, lifetime: .forever, on: nil)
      try subject.expect(isSet, true, "set")
      try subject.expect(try await subject.cache.get(key, on: nil), bytes, "get")
      let isRemoved = try await subject.cache.compareAndSet(
        key, expected: bytes, new: nil, lifetime: .forever, on: nil)
      try subject.expect(isRemoved, true, "compared byte by byte")
    },
    CacheFact("every group and every name is a key of its own") { subject in
      let parts = ["", "a", "ab", "b", "{", "}", "{}", "a}b", "a%7Db", "%", "%25", "%7D", "{a}", ":", "ä\n\u{0}"]
      let groups = parts.map { CacheKey("\($0)\(subject.tag)").group } + [""]
      var number = 0
      for group in groups {
        for name in parts {
          number += 1
          // The empty group is everybody's: there the names are this test's own.
          let key = CacheKey(group, group.isEmpty ? name + subject.tag : name)
          try subject.expect(try await subject.add(number, key), number, "\(key) is new")
        }
      }
    },
    CacheFact("keys of one group are used together, whatever the group is called") { subject in
      for group in ["", "}", "{", "{}", "a{b}c", "%", "ä"] {
        let known = subject.key("known", in: group)
        let count = subject.key("count", in: group)
        try subject.expect(try await subject.swap(known, nil, "1"), true, "set")
        try subject.expect(try await subject.add(1, count, requiring: known), 1, "guarded, in \(group)")
        let taken = try await subject.take((known, 1, 9), (count, 1, 9))
        try subject.expect(taken, CacheTaken(exhausted: nil, values: [2, 2]), "taken, in \(group)")
      }
      // The group without a name.
      let name = "own \(subject.tag)"
      let lone = CacheKey("", name)
      try subject.expect(try await subject.add(1, lone), 1, "the empty group")
      try subject.expect(
        try await subject.add(1, CacheKey("", name + " count"), requiring: lone), 1, "the empty group, guarded")
    },
  ]

  static let counters: [CacheFact] = [
    CacheFact("a counter begins at 0, and is read as its digits") { subject in
      let key = subject.key("counter")
      try subject.expect(try await subject.add(3, key), 3, "the first")
      try subject.expect(try await subject.add(-5, key), -2, "below 0")
      try subject.expect(try await subject.add(0, key), -2, "nothing")
      try subject.expect(try await subject.get(key), "-2", "its digits")
      try subject.expect(try await subject.swap(key, "-2", "40"), true, "compared as digits")
      try subject.expect(try await subject.add(2, key), 42, "a value of digits is a counter")
      try subject.expect(try await subject.add(0, subject.key("zero")), 0, "0 is a counter, too")
      try subject.expect(try await subject.get(subject.key("zero")), "0", "0")
    },
    CacheFact("a counter holds 64 bits exactly, and is not added to beyond them") { subject in
      let key = subject.key("large")
      try subject.expect(try await subject.add(.max - 1, key), .max - 1, "large")
      try subject.expect(try await subject.add(1, key), .max, "largest")
      try await subject.expect(.notACounter, "too large") { _ = try await subject.add(1, key) }
      try subject.expect(try await subject.get(key), "9223372036854775807", "it is as it was")
      let low = subject.key("low")
      try subject.expect(try await subject.add(.min, low), .min, "smallest")
      try await subject.expect(.notACounter, "too small") { _ = try await subject.add(-1, low) }
    },
    CacheFact("what is no whole number is no counter, and stays as it is") { subject in
      for (index, text) in ["", "x", "1 ", " 1", "+1", "007", "-0", "1.5", "1e3", "0x1", "99999999999999999999"]
        .enumerated()
      {
        let key = subject.key("text \(index)")
        try subject.expect(try await subject.swap(key, nil, text), true, "set")
        try await subject.expect(.notACounter, "add to \"\(text)\"") { _ = try await subject.add(1, key) }
        let other = subject.key("other \(index)")
        try await subject.expect(.notACounter, "take from \"\(text)\"") {
          _ = try await subject.take((other, 1, 5), (key, 1, 5))
        }
        try subject.expect(try await subject.get(key), text, "as it was")
        try subject.expect(try await subject.get(other), nil, "nothing of the take was done")
      }
    },
    CacheFact("a guarded counter is added to only while its guard is there") { subject in
      let guardKey = subject.key("guard")
      let key = subject.key("guarded")
      try subject.expect(try await subject.add(1, key, requiring: guardKey), nil, "no guard")
      try subject.expect(try await subject.get(key), nil, "nothing was made")
      try subject.expect(try await subject.swap(guardKey, nil, "here"), true, "the guard comes")
      try subject.expect(try await subject.add(1, key, requiring: guardKey), 1, "guarded")
      try subject.expect(try await subject.add(1, guardKey, requiring: subject.key("none")), nil, "another guard")
      try subject.expect(try await subject.swap(guardKey, "here", nil), true, "the guard goes")
      try subject.expect(try await subject.add(1, key, requiring: guardKey), nil, "no guard any more")
      try subject.expect(try await subject.get(key), "1", "as it was")
    },
    CacheFact("keys of several groups are refused") { subject in
      let (a, b) = (subject.key("x", in: "a"), subject.key("x", in: "b"))
      try await subject.expect(.severalGroups, "add") { _ = try await subject.add(1, a, requiring: b) }
      try await subject.expect(.severalGroups, "take") { _ = try await subject.take((a, 1, 5), (b, 1, 5)) }
      try subject.expect(try await subject.get(a), nil, "nothing was done")
    },
  ]
}
