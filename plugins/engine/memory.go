package engine

// heap is a guest's memory on the Go heap, where the system has no other.
type heap struct {
	b    []byte
	most uint64
}

// Reallocate grows the memory to size.
func (m *heap) Reallocate(size uint64) []byte {
	if size > m.most {
		return nil
	}
	if size > uint64(cap(m.b)) {
		grown := make([]byte, size, min(2*size, m.most))
		copy(grown, m.b)
		m.b = grown
	}
	m.b = m.b[:size]
	return m.b
}

// Free lets go of it.
func (m *heap) Free() { m.b = nil }
