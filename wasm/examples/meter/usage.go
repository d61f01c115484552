package main

import (
	"slices"
	"strconv"

	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// used is what a tenant has used since the last report of this instance.
type used struct {
	messages, bytes, refused int64
	key                      string // of the store
}

// At most so many tenants between two reports; further ones are counted as one.
const (
	maxTenants = 1000
	others     = "(others)"
	nobody     = "(none)"
)

var (
	usage map[string]*used
	order []string // of the report
	set   bool     // the timer
)

func count(e *chappe.Event) chappe.Verdict {
	tenant := e.Claim(claim)
	if tenant == "" {
		tenant = nobody
	}
	u := of(tenant)
	if !set {
		set = true
		chappe.SetTimer(window)
	}
	if quota > 0 {
		// The store is shared by all instances of the node, and the counter ends with
		// its window. A full store must not let everybody through.
		if n, ok := chappe.Incr(u.key, 1, window); !ok || n > quota {
			u.refused++
			refused.Add(1)
			return chappe.Deny(429, "quota of "+strconv.FormatInt(quota, 10)+" messages used up")
		}
	}
	u.messages++
	u.bytes += int64(len(e.Payload()))
	messages.Add(1)
	size.Add(int64(len(e.Payload())))
	return chappe.Allow
}

func of(tenant string) *used {
	if u := usage[tenant]; u != nil {
		return u
	}
	if len(usage) >= maxTenants {
		tenant = others
		if u := usage[tenant]; u != nil {
			return u
		}
	}
	u := &used{key: "window:" + tenant[:min(len(tenant), 200)]}
	usage[tenant] = u
	order = append(order, tenant)
	return u
}

// report writes a line for each tenant and begins anew.
func report(*chappe.Event) chappe.Verdict {
	slices.Sort(order)
	for _, tenant := range order {
		u := usage[tenant]
		chappe.Log(chappe.Info, tenant+" messages="+strconv.FormatInt(u.messages, 10)+
			" bytes="+strconv.FormatInt(u.bytes, 10)+" refused="+strconv.FormatInt(u.refused, 10))
	}
	clear(usage)
	order, set = order[:0], false
	return chappe.Allow
}
