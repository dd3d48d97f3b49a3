/// A set of methods in one word, and a list of those that we do not know by name: neither hashed nor allocated when asked.
struct AllowedMethods: Sendable {
  private var known: UInt16 = 0
  private var others: [HTTPMethod] = []

  init() {}

  init(_ methods: Set<HTTPMethod>) {
    for method in methods { insert(method) }
    // A server that answers GET answers HEAD (RFC 9110, 9.3.2).
    if contains(.get) { insert(.head) }
  }

  var isEmpty: Bool { known == 0 && others.isEmpty }

  func contains(_ method: HTTPMethod) -> Bool {
    if let bit = method.bit { return known & bit != 0 }
    return others.contains(method)
  }

  private mutating func insert(_ method: HTTPMethod) {
    if let bit = method.bit {
      known |= bit
    } else if !others.contains(method) {
      others.append(method)
    }
  }

  mutating func formUnion(_ methods: AllowedMethods) {
    known |= methods.known
    for method in methods.others where !others.contains(method) { others.append(method) }
  }

  mutating func removeAll() {
    known = 0
    if !others.isEmpty { others.removeAll(keepingCapacity: true) }
  }

  /// In alphabetical order.
  var names: [String] {
    let known = HTTPMethod.known.filter { contains($0) }
    return (known + others).map(\.name).sorted()
  }
}
