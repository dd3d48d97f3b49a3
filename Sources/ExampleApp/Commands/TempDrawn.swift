import Pipeline

func drawn(_ proxy: some Proxy, as format: GraphCommand.Format = .text) throws -> String { "" }
