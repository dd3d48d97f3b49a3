import Pipeline

/// What a chain is refused with when it is built; empty where it is not.
func complaints(of build: () throws -> Void) -> [String] {
  do {
    try build()
    return []
  } catch let error as ConfigurationError {
    return error.messages
  } catch {
    return ["\(error)"]
  }
}
