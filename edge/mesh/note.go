package mesh

import (
	"fmt"

	"github.com/chappe-relay/chappe/relay/position"
)

// Note tells every other node something. It is sent once and may be lost: what
// must converge needs digests of its own. It never blocks; false means dropped.
func (m *Mesh) Note(topic string, body []byte) bool {
	return m.post(sendAll, 0, kindNote, func(b []byte) []byte {
		return append(putBytes(b, topic), body...)
	})
}

// NoteTo tells one node, which is an origin or was.
func (m *Mesh) NoteTo(origin position.Origin, topic string, body []byte) bool {
	return m.post(sendTo, origin, kindNote, func(b []byte) []byte {
		return append(putBytes(b, topic), body...)
	})
}

// note hands on what another node told. Who has not announced itself yet is not heard.
func (m *Mesh) note(from position.Origin, b []byte) error {
	r := reader{b: b}
	topic := string(r.bytes())
	if r.err != nil {
		return fmt.Errorf("note: %w", r.err)
	}
	if who, ok := m.members.find(from); ok && m.cfg.OnNote != nil {
		m.cfg.OnNote(who, topic, r.b)
	}
	return nil
}
