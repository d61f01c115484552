package edge

import "runtime/debug"

// version names the software to other nodes.
func (o *Options) version() string {
	if o.Version != "" {
		return o.Version
	}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if v := b.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "(devel)"
}
