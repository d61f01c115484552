package mesh

import (
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/relay/position"
)

// Classes of subjects: the third token.
const (
	classHistory   = "h"
	classEphemeral = "e"
)

// everything is what a region's allow-lists name.
func everything(region string) string { return "x." + region + ".>" }

func shardSubject(region, class string, shard uint8) string {
	return "x." + region + "." + class + "." + strconv.Itoa(int(shard))
}

func allSubject(region string) string { return "x." + region + ".c.all" }

func toSubject(region string, o position.Origin) string { return "x." + region + ".c.to." + o.String() }

// split returns the region and the class of a subject.
func split(subject string) (region, class string, ok bool) {
	rest, ok := strings.CutPrefix(subject, "x.")
	if !ok {
		return "", "", false
	}
	region, rest, ok = strings.Cut(rest, ".")
	if !ok {
		return "", "", false
	}
	class, _, ok = strings.Cut(rest, ".")
	return region, class, ok
}

// validToken reports whether s can be a token of a subject and a name in a
// certificate: a region or a node.
func validToken(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
