extension Plan {
  func drawnAsText() -> String {
    var lines: [String] = []
    for part in parts {
      lines.append("\(part.name): \(part.transport) on \(part.address)")
      for index in part.nodes.indices { lines.append(part.textLine(index)) }
      for note in part.notes { lines.append("  note: \(note)") }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  func drawnAsMermaid() -> String {
    func quoted(_ text: String) -> String {
      "\"" + text.replacing("&", with: "#amp;").replacing("\"", with: "#quot;").replacing("<", with: "#lt;") + "\""
    }
    var lines = ["flowchart TD"]
    for (number, part) in parts.enumerated() {
      lines.append("  l\(number)([\(quoted("\(part.name): \(part.transport) on \(part.address)"))])")
      var open: [Int] = []
      for (index, node) in part.nodes.enumerated() {
        while let last = open.last, index >= last {
          open.removeLast()
          lines.append(indent(open.count + 1) + "end")
        }
        let id = "l\(number)n\(index)"
        let text = quoted(node.caption.joined(separator: "\n")).replacing("\n", with: "<br>")
        switch node.kind {
        case .group:
          lines.append(indent(open.count + 1) + "subgraph \(id)[\(text)]")
          open.append(node.end)
        case .element: lines.append(indent(open.count + 1) + "\(id)[\(text)]")
        case .route: lines.append(indent(open.count + 1) + "\(id){\(text)}")
        case .destination: lines.append(indent(open.count + 1) + "\(id)([\(text)])")
        }
      }
      while !open.isEmpty {
        open.removeLast()
        lines.append(indent(open.count + 1) + "end")
      }
      for edge in part.edges {
        let from = edge.from < 0 ? "l\(number)" : "l\(number)n\(edge.from)"
        let arrow = edge.label.map { "-->|\($0)|" } ?? "-->"
        lines.append("  \(from) \(arrow) l\(number)n\(edge.to)")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  func drawnAsDOT() -> String {
    func quoted(_ text: String) -> String {
      "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n") + "\""
    }
    var lines = ["digraph sluice {", "  node [shape=box];"]
    for (number, part) in parts.enumerated() {
      let title = "\(part.name): \(part.transport) on \(part.address)"
      lines.append("  l\(number) [shape=oval, label=\(quoted(title))];")
      var open: [Int] = []
      for (index, node) in part.nodes.enumerated() {
        while let last = open.last, index >= last {
          open.removeLast()
          lines.append(indent(open.count + 1) + "}")
        }
        let text = quoted(node.caption.joined(separator: "\n"))
        let id = "l\(number)n\(index)"
        switch node.kind {
        case .group:
          lines.append(indent(open.count + 1) + "subgraph cluster_\(id) {")
          open.append(node.end)
          lines.append(indent(open.count + 1) + "label=\(text);")
        case .element: lines.append(indent(open.count + 1) + "\(id) [label=\(text)];")
        case .route: lines.append(indent(open.count + 1) + "\(id) [shape=diamond, label=\(text)];")
        case .destination: lines.append(indent(open.count + 1) + "\(id) [shape=oval, label=\(text)];")
        }
      }
      while !open.isEmpty {
        open.removeLast()
        lines.append(indent(open.count + 1) + "}")
      }
      for edge in part.edges {
        let from = edge.from < 0 ? "l\(number)" : "l\(number)n\(edge.from)"
        let label = edge.label.map { " [label=\(quoted($0))]" } ?? ""
        lines.append("  \(from) -> l\(number)n\(edge.to)\(label);")
      }
    }
    return (lines + ["}"]).joined(separator: "\n") + "\n"
  }

  private func indent(_ depth: Int) -> String { String(repeating: "  ", count: depth) }
}

extension Plan.Node {
  /// The lines of a box.
  fileprivate var caption: [String] {
    [title] + (parameters.isEmpty ? [] : [settings]) + (counters.map { [$0] } ?? [])
  }
}

extension Plan.Part {
  fileprivate struct Edge {
    let from: Int
    let to: Int
    var label: String?
  }

  /// Who calls whom. Groups are frames, not steps, so an edge looks through them.
  fileprivate var edges: [Edge] {
    nodes.indices.compactMap { index in
      if nodes[index].kind == .group { return nil }
      var above = nodes[index].above
      while above >= 0, nodes[above].kind == .group { above = nodes[above].above }
      guard above >= 0, nodes[above].kind == .route else { return Edge(from: above, to: index) }
      return Edge(from: above, to: index, label: index < nodes[above].end ? "match" : "else")
    }
  }

  /// One line of the tree, with the lines that lead down to what follows on each level.
  fileprivate func textLine(_ index: Int) -> String {
    let node = nodes[index]
    var line = ""
    for level in 0..<node.level { line += continues(after: index, on: level) ? "│  " : "   " }
    let isLast = !continues(after: index, on: node.level)
    let isEnd = node.kind == .destination
    line += isLast ? (isEnd ? "└▶ " : "└─ ") : (isEnd ? "├▶ " : "├─ ")
    line += node.title
    if !node.parameters.isEmpty { line += "  \(node.settings)" }
    if let counters = node.counters { line += "  [\(counters)]" }
    return line
  }

  /// Whether another node follows on this level, within the same group or route.
  private func continues(after index: Int, on level: Int) -> Bool {
    for node in nodes[(index + 1)...] {
      if node.level == level { return true }
      if node.level < level { return false }
    }
    return false
  }
}
