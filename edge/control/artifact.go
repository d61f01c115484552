package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/position"
)

// An artifact is bytes that a digest names, so that any node may have it from any
// other: it is asked for in pieces, by request and answer.

// prefix marks the requests that ServeArtifact answers.
var prefix = []byte("artifact ")

const piece = 256 << 10 // bytes of one answer: live messages wait behind it

type request struct {
	Digest string `json:"digest"`
	Offset int    `json:"offset"`
}

// answer is a header line, then the bytes.
type answer struct {
	Total int `json:"total"`
}

// FetchArtifact asks nodes in turn for an artifact of at most limit bytes, until
// one has it whole and check finds that it is what the digest names.
func FetchArtifact(ctx context.Context, nodes []position.Origin, digest string, limit int,
	ask func(context.Context, position.Origin, []byte) ([]byte, error), check func([]byte) error) ([]byte, error) {
	err := errors.New("no node is there to have it from")
	for _, node := range nodes {
		var raw []byte
		if raw, err = fetch(ctx, node, digest, limit, ask); err == nil {
			err = check(raw)
		}
		if err == nil {
			return raw, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("artifact %.12s: %w", digest, err)
}

func fetch(ctx context.Context, node position.Origin, digest string, limit int,
	ask func(context.Context, position.Origin, []byte) ([]byte, error)) (raw []byte, err error) {
	for {
		q, err := json.Marshal(request{digest, len(raw)})
		if err != nil {
			return nil, err
		}
		got, err := ask(ctx, node, append(bytes.Clone(prefix), q...))
		if err != nil {
			return nil, err
		}
		head, body, ok := bytes.Cut(got, []byte("\n"))
		var a answer
		if !ok || json.Unmarshal(head, &a) != nil || a.Total <= 0 || a.Total > limit || len(body) == 0 || len(raw)+len(body) > a.Total {
			return nil, fmt.Errorf("node %s answers something else", node)
		}
		if raw = append(raw, body...); len(raw) == a.Total {
			return raw, nil
		}
	}
}

// ServeArtifact answers a request of FetchArtifact; ok is false for any other.
func ServeArtifact(body []byte, read func(digest string) ([]byte, error)) (out []byte, ok bool, err error) {
	body, ok = bytes.CutPrefix(body, prefix)
	if !ok {
		return nil, false, nil
	}
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, true, fmt.Errorf("artifact: %w", err)
	}
	raw, err := read(q.Digest)
	if err != nil {
		return nil, true, fmt.Errorf("artifact %.12s: %w", q.Digest, err)
	}
	if q.Offset < 0 || q.Offset >= len(raw) {
		return nil, true, fmt.Errorf("artifact %.12s: offset %d of %d", q.Digest, q.Offset, len(raw))
	}
	out, err = json.Marshal(answer{len(raw)})
	if err != nil {
		return nil, true, err
	}
	return append(append(out, '\n'), raw[q.Offset:min(len(raw), q.Offset+piece)]...), true, nil
}
