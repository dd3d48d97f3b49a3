public import Pipeline

/// Gives errors a body: plain text, an HTML page, or problem details (RFC 9457), whichever the client likes best by
/// `accept`.
///
/// ```swift
/// ErrorPages()
/// RequestID()
/// …
/// ```
/// A page says the status, what it is called, and the request's id where ``RequestID`` stands below or above; never the
/// rejection's detail, which is for the log. It speaks for this proxy's own errors: a response of an upstream passes as it
/// is unless `replacingUpstream` names its status, and an answer that somebody wrote a body for is left alone. Fields of
/// the refusal (`www-authenticate`, `retry-after`, `allow`) stay. The page is not to be cached. Refuses nobody.
///
/// Costs nothing for what is no error, and some allocations for what is.
public struct ErrorPages: HTTPMiddleware {
  @inlinable public static var throwsLate: Bool { false }

  /// What a page has to say. Nothing in it comes from the client, but for an id that ``RequestID`` took over, which holds
  /// no character that HTML or JSON gives a meaning.
  public struct Page: Sendable {
    /// 400...599.
    public let status: Int
    /// `Not Found`.
    public let title: String
    /// From ``RequestID``.
    public let requestID: String?
  }

  /// How a page looks.
  public enum Format: String, Sendable, CaseIterable {
    /// `text/plain`.
    case text
    /// `text/html`.
    case html
    /// `application/problem+json`.
    case problem
  }

  private let fallback: Format
  private let replaced: Set<Int>
  private let html: @Sendable (Page) -> String

  /// - Parameters:
  ///   - fallback: for clients that accept anything, or do not say.
  ///   - replacingUpstream: upstream statuses whose bodies are replaced, of 400...599.
  ///   - html: a page of one's own.
  public init(
    fallback: Format = .text, replacingUpstream: Set<Int> = [],
    html: @escaping @Sendable (Page) -> String = { ErrorPages.standard($0) }
  ) {
    self.fallback = fallback
    replaced = replacingUpstream
    self.html = html
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard (400...599).contains(head.status), speaks(for: head) else { return }
    let page = Page(
      status: head.status, title: Self.title(of: head.status), requestID: exchange.requestID)
    let format = AcceptedFormat.best(for: exchange.request.fields, fallback: fallback)
    if head.origin == .upstream { Self.removeDescription(from: &head.fields) }
    head.replaceBody(Array(text(of: page, format).utf8))
    head.fields.set("content-type", Self.contentType(of: format))
    // The type is what we say, whatever the page looks like to a browser that guesses.
    head.fields.set("x-content-type-options", "nosniff")
    head.fields.set("cache-control", "no-store")
    vary(by: "accept", in: &head.fields)
  }

  public var parameters: [Parameter] {
    [Parameter("fallback", fallback.rawValue)]
      + (replaced.isEmpty
        ? [] : [Parameter("replacing", replaced.sorted().map { String($0) }.joined(separator: " "))])
  }

  public func validate(into problems: inout Problems) {
    for status in replaced.sorted() where !(400...599).contains(status) {
      problems.refuse("the status \(status) is no error: 400...599 are allowed")
    }
  }

  // MARK: -

  private func speaks(for head: HTTPResponseHead) -> Bool {
    switch (head.origin, head.body) {
    case (.upstream, _): replaced.contains(head.status)
    case (.local, .bytes(let bytes)): bytes.isEmpty
    case (.local, .streamed), (.local, .relayed): false
    }
  }

  /// What an upstream said of the body that is replaced.
  private static func removeDescription(from fields: inout HeaderFields) {
    for name in [
      "content-encoding", "content-language", "content-range", "etag", "last-modified", "accept-ranges", "age",
    ]
      as [HeaderName]
    {
      fields.remove(name)
    }
  }

  private func text(of page: Page, _ format: Format) -> String {
    switch format {
    case .text:
      "\(page.status) \(page.title)\n" + (page.requestID.map { "request: \($0)\n" } ?? "")
    case .html: html(page)
    case .problem:
      "{\"type\":\"about:blank\",\"title\":\"\(page.title)\",\"status\":\(page.status)"
        + (page.requestID.map { ",\"request_id\":\"\($0)\"" } ?? "") + "}\n"
    }
  }

  private static func contentType(of format: Format) -> String {
    switch format {
    case .text: "text/plain; charset=utf-8"
    case .html: "text/html; charset=utf-8"
    case .problem: "application/problem+json"
    }
  }

  /// The page that stands for HTML unless another is given.
  public static func standard(_ page: Page) -> String {
    let title = "\(page.status) \(escaped(page.title))"
    let id = page.requestID.map { "<p>Request: <code>\(escaped($0))</code></p>\n" } ?? ""
    return """
      <!doctype html>
      <html lang="en">
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width">
      <title>\(title)</title>
      <style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>
      <h1>\(title)</h1>
      \(id)</html>

      """
  }

  /// A text in which nothing is markup: for pages of one's own that show more than a ``Page`` holds.
  public static func escaped(_ text: String) -> String {
    var out = ""
    for character in text.unicodeScalars {
      switch character {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }

  /// What RFC 9110, 15 and its kin call it.
  static func title(of status: Int) -> String {
    let phrase = ReasonPhrase.of(status)
    if phrase.utf8CodeUnitCount > 0 { return phrase.description }
    return status < 500 ? "Client Error" : "Server Error"
  }
}
