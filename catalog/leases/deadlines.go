package leases

import "container/heap"

// deadlines is a heap of leases, the next to expire on top. Each lease knows
// its index, so that a release removes it at once. A new lease usually expires
// last, which makes the usual push and its removal cost one comparison,
// however many leases live.
type deadlines []*lease

func (d *deadlines) add(l *lease)    { heap.Push(d, l) }
func (d *deadlines) moved(l *lease)  { heap.Fix(d, l.index) }
func (d *deadlines) remove(l *lease) { heap.Remove(d, l.index) }

// Len, Less, Swap, Push and Pop are what container/heap works with.
func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].until < d[j].until }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *deadlines) Push(x any) {
	l := x.(*lease)
	l.index = len(*d)
	*d = append(*d, l)
}

func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return last
}
