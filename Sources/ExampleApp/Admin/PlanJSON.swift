import Pipeline

extension Plan {
  /// The listeners with their elements, in order, and what each has counted.
  var json: JSON { .array(parts.map(\.json)) }
}

extension Plan.Part {
  fileprivate var json: JSON {
    .object([
      "listener": .string(name), "transport": .string(transport), "address": .string(address),
      "elements": .array(nodes.map(\.json)), "notes": .array(notes.map { .string($0) }),
    ])
  }
}

extension Plan.Node {
  fileprivate var json: JSON {
    let kind =
      switch kind {
      case .element: "element"
      case .group: "group"
      case .route: "route"
      case .destination: "destination"
      }
    let counts = counts.map { counts -> JSON in
      .object([
        "entered": .int(counts.entered), "refused": .int(counts.refused), "failed": .int(counts.failed),
      ])
    }
    return .object([
      "kind": .string(kind), "title": .string(title), "level": .int(level),
      "parameters": .object(parameters.map { JSON.Member(name: $0.name, value: .string($0.value)) }),
      "counts": counts ?? .null,
    ])
  }
}
