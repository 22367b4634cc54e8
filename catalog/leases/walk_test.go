package leases_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A model is the table as one would explain it: a list of what was granted,
// looked through from its beginning every time.
type model struct {
	now     time.Duration
	granted []*promise
	open    map[leases.Key]bool // known: open or, if false, closed
	reports map[leases.Key]int  // drains that are to be reported
}

type promise struct {
	ask      leases.Ask
	id       string
	until    time.Duration
	released bool
	homeless bool // its placement was forgotten
}

func (m *model) lives(p *promise) bool { return !p.released && m.now < p.until }

func (m *model) held(k leases.Key) (count int) {
	for _, p := range m.granted {
		if m.lives(p) && !p.homeless && p.ask.Key == k {
			count++
		}
	}
	return count
}

func (m *model) living() (living []*promise) {
	for _, p := range m.granted {
		if m.lives(p) {
			living = append(living, p)
		}
	}
	return living
}

// change does something that may end leases, and notes the drains that follow.
func (m *model) change(do func()) {
	before := map[leases.Key]int{}
	for k, open := range m.open {
		if !open {
			before[k] = m.held(k)
		}
	}
	do()
	for k, held := range before {
		if held > 0 && m.held(k) == 0 {
			m.reports[k]++
		}
	}
}

func (m *model) repeated(ask leases.Ask) *promise {
	for _, p := range m.living() {
		if ask.Request != "" && p.ask.Request == ask.Request && p.ask.Session == ask.Session {
			return p
		}
	}
	return nil
}

func TestRandomWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) { newWalker(t, nil).walk(nil) })
	})
}

// TestRandomWalkWithAnAfterlife is the same walk, on a daemon that is killed,
// stopped and compacted on the way. The model is not: it holds on.
func TestRandomWalkWithAnAfterlife(t *testing.T) {
	path := filepath.Join(memoryDir(t), "leases.journal")
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			require.NoError(t, os.RemoveAll(path))
			d := &daemon{t: t, journal: leases.Journal{Path: path, BootID: boot}}
			w := newWalker(t, d)
			w.walk(map[string]func(*rapid.T){
				"compact": func(t *rapid.T) { require.NoError(t, w.daemon.Compact()) },
				"kill":    func(*rapid.T) { w.restart(w.daemon.kill) },
				"restart": func(*rapid.T) { w.restart(func() { w.daemon.Stop(); w.daemon.start() }) },
			})
		})
	})
}

// bubbled hides Deadline, which a test with a time of its own does not have.
type bubbled struct{ rapid.TB }

// newWalker walks on a daemon, or on a table that has no journal.
func newWalker(t *rapid.T, d *daemon) *walker {
	start := time.Now()
	w := &walker{
		t: t, daemon: d,
		model:   &model{open: map[leases.Key]bool{}, reports: map[leases.Key]int{}},
		reports: map[leases.Key]int{},
	}
	now := func() time.Duration { return time.Since(start) }
	if d == nil {
		w.table = leases.New(now)
	} else {
		d.now = now
		d.start()
		w.table = d.Table
	}
	w.listen()
	for i := range 4 {
		w.keys = append(w.keys, leases.Key{ID: payload.ID{15: byte(i / 2)}, Tier: payload.Tiers()[i%2], Attempt: 1})
	}
	return w
}

func (w *walker) walk(more map[string]func(*rapid.T)) {
	defer func() { w.table.Stop() }()
	actions := map[string]func(*rapid.T){
		"open":    func(*rapid.T) { w.open() },
		"grant":   func(*rapid.T) { w.grant() },
		"renew":   func(*rapid.T) { w.renew() },
		"release": func(*rapid.T) { w.release() },
		"close":   func(*rapid.T) { w.close() },
		"forget":  func(*rapid.T) { w.forget() },
		"session": func(*rapid.T) { w.endSession() },
		"sleep":   func(*rapid.T) { w.sleep() },
		"":        func(*rapid.T) { w.compare() },
	}
	maps.Copy(actions, more)
	w.t.Repeat(actions)
}

// A walker does the same to a table and to its model.
type walker struct {
	t       *rapid.T
	daemon  *daemon // nil where the table has no journal
	table   *leases.Table
	model   *model
	keys    []leases.Key
	reports map[leases.Key]int
}

func (w *walker) listen() { w.table.OnDrained(func(k leases.Key) { w.reports[k]++ }) }

// restart opens again what is ready, as a daemon does, and has every closed
// placement reported that holds nothing.
func (w *walker) restart(restart func()) {
	synctest.Wait()
	restart()
	w.table = w.daemon.Table
	w.listen()
	for k, open := range w.model.open {
		if open {
			w.table.Open(k)
		} else if w.model.held(k) == 0 {
			w.model.reports[k]++
		}
	}
}

func (w *walker) key() leases.Key { return rapid.SampledFrom(w.keys).Draw(w.t, "key") }
func (w *walker) session() string {
	return rapid.SampledFrom([]string{"", "a", "b"}).Draw(w.t, "session")
}

func (w *walker) duration() time.Duration {
	return time.Duration(rapid.IntRange(0, 4).Draw(w.t, "seconds")) * time.Second
}

// promise draws one that was granted at some time.
func (w *walker) promise() *promise {
	if len(w.model.granted) == 0 {
		return &promise{id: "never", released: true}
	}
	return rapid.SampledFrom(w.model.granted).Draw(w.t, "lease")
}

func (w *walker) open() {
	k := w.key()
	w.table.Open(k)
	if _, known := w.model.open[k]; !known {
		w.model.open[k] = true
	}
}

func (w *walker) grant() {
	ask := leases.Ask{Key: w.key(), Session: w.session(), Duration: w.duration()}
	ask.Request = rapid.SampledFrom([]string{"", "", "1", "2"}).Draw(w.t, "request")
	got, err := w.table.Grant(ask)
	open, known := w.model.open[ask.Key]
	first := w.model.repeated(ask)
	switch {
	case first != nil && (first.ask.Key.ID != ask.Key.ID || first.ask.Duration != ask.Duration):
		require.Equal(w.t, payload.RequestReuse, payload.ReasonOf(err))
	case first != nil:
		require.NoError(w.t, err)
		require.Equal(w.t, first.id, got.ID)
	case !known:
		require.ErrorIs(w.t, err, payload.NotFound)
	case !open:
		require.ErrorIs(w.t, err, payload.Conflict)
	default:
		require.NoError(w.t, err)
		until := w.model.now + inFull(ask.Duration)
		w.model.granted = append(w.model.granted, &promise{ask: ask, id: got.ID, until: until})
	}
}

func inFull(d time.Duration) time.Duration {
	if d == 0 {
		return payload.DefaultLease
	}
	return d
}

func (w *walker) renew() {
	p, d := w.promise(), w.duration()
	_, err := w.table.Renew(p.id, d)
	switch {
	case p.id == "never":
		require.ErrorIs(w.t, err, payload.NotFound)
	case !w.model.lives(p):
		require.ErrorIs(w.t, err, payload.Expired)
	case p.homeless || !w.model.open[p.ask.Key]:
		require.ErrorIs(w.t, err, payload.Conflict)
	default:
		require.NoError(w.t, err)
		p.until = max(p.until, w.model.now+inFull(d))
	}
}

func (w *walker) release() {
	p := w.promise()
	require.NoError(w.t, w.table.Release(p.id))
	w.model.change(func() { p.released = true })
}

func (w *walker) close() {
	k := w.key()
	require.Equal(w.t, w.model.held(k), w.table.Close(k).Leases)
	w.model.open[k] = false
}

func (w *walker) forget() {
	k := w.key()
	w.table.Forget(k)
	delete(w.model.open, k)
	for _, p := range w.model.granted {
		p.homeless = p.homeless || p.ask.Key == k
	}
}

func (w *walker) endSession() {
	name, ended := w.session(), 0
	w.model.change(func() {
		for _, p := range w.model.living() {
			if name != "" && p.ask.Session == name {
				p.released = true
				ended++
			}
		}
	})
	require.Equal(w.t, ended, w.table.EndSession(name))
}

func (w *walker) sleep() {
	d := time.Duration(rapid.IntRange(1, 3000).Draw(w.t, "milliseconds")) * time.Millisecond
	synctest.Wait() // what came before happened before
	time.Sleep(d)
	w.model.change(func() { w.model.now += d })
}

// compare holds everything that can be seen against the model.
func (w *walker) compare() {
	synctest.Wait()
	require.Equal(w.t, w.model.reports, w.reports)
	require.Equal(w.t, len(w.model.living()), w.table.Summary().Count)
	for _, k := range w.keys {
		require.Equal(w.t, w.model.held(k), w.table.Held(k).Leases, fmt.Sprint(k))
	}
	for _, p := range w.model.granted {
		got, err := w.table.Lookup(p.id)
		if !w.model.lives(p) {
			require.ErrorIs(w.t, err, payload.Expired)
			continue
		}
		require.NoError(w.t, err)
		require.Equal(w.t, p.until-w.model.now, got.Remaining)
		require.LessOrEqual(w.t, got.Remaining, w.within(p))
	}
	w.model.granted = slices.DeleteFunc(w.model.granted, func(p *promise) bool { return w.model.now > p.until+time.Minute })
}

// within is the table's bound for the lease's placement, which holds unless the
// placement was forgotten.
func (w *walker) within(p *promise) time.Duration {
	if p.homeless {
		return payload.MaxLease
	}
	return w.table.Held(p.ask.Key).Within
}
