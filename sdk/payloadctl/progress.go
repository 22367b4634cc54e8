package main

import (
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// longWork is when somebody who watches begins to wonder: what takes less shows
// no progress.
const longWork = 700 * time.Millisecond

// A progress is shown on a terminal once the work takes long.
type progress struct {
	bar  *mpb.Bar
	all  *mpb.Progress
	show *time.Timer
}

// measure shows how many of the bytes are done. Where nobody watches, it is
// nil, which every method takes.
func (t *terminal) measure(what string, total int64) *progress {
	return t.progress(func(all *mpb.Progress) *mpb.Bar {
		return all.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(what+" "), decor.CountersKibiByte("% .1f of % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f "), decor.AverageETA(decor.ET_STYLE_GO)))
	})
}

// spin shows how long work takes whose end is not known.
func (t *terminal) spin(what string) *progress {
	return t.progress(func(all *mpb.Progress) *mpb.Bar {
		return all.New(0, mpb.SpinnerStyle(), mpb.BarRemoveOnComplete(), mpb.BarWidth(1),
			mpb.PrependDecorators(decor.Name(what+" "), decor.Elapsed(decor.ET_STYLE_GO)))
	})
}

func (t *terminal) progress(add func(*mpb.Progress) *mpb.Bar) *progress {
	if !t.watched {
		return nil
	}
	shown := make(chan struct{})
	p := &progress{
		all:  mpb.New(mpb.WithOutput(t.err), mpb.WithAutoRefresh(), mpb.WithRenderDelay(shown)),
		show: time.AfterFunc(longWork, func() { close(shown) }),
	}
	p.bar = add(p.all)
	return p
}

// add may be called concurrently.
func (p *progress) add(bytes int64) {
	if p != nil {
		p.bar.IncrInt64(bytes)
	}
}

// done clears what is shown.
func (p *progress) done() {
	if p == nil {
		return
	}
	p.show.Stop()
	p.bar.Abort(true)
	p.all.Shutdown()
}

// during spins while work goes on.
func (t *terminal) during(what string, work func() error) error {
	spinner := t.spin(what)
	defer spinner.done()
	return work()
}
