package abi

var hookNames = [Hooks]string{"init", "connect", "subscribe", "publish", "publish_batch", "deliver", "presence", "history", "disconnect", "timer"}

var verdictNames = [Verdicts]string{"error", "allow", "drop", "deny", "replace", "bitmap", "matched", "fanout"}

func (h Hook) String() string {
	if h < Hooks {
		return hookNames[h]
	}
	return "unknown"
}

// Export is the name of the function that a guest exports for the hook.
func (h Hook) Export() string {
	if h == Init {
		return ExportInit
	}
	return "chappe_on_" + h.String()
}

// ParseHook finds a hook by its name.
func ParseHook(name string) (Hook, bool) {
	for i, n := range hookNames {
		if n == name {
			return Hook(i), true
		}
	}
	return 0, false
}

func (v Verdict) String() string {
	if v < Verdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// ParseVerdict finds a verdict by its name.
func ParseVerdict(name string) (Verdict, bool) {
	for i, n := range verdictNames {
		if n == name {
			return Verdict(i), true
		}
	}
	return 0, false
}
