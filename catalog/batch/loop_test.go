package batch

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A slow store carries out a batch when it is told to, and says how many steps
// were in it.
type slowStore struct {
	begun   chan int
	proceed chan struct{}
}

func (s slowStore) carry(steps []catalog.Step) []Outcome {
	s.begun <- len(steps)
	<-s.proceed
	return make([]Outcome, len(steps))
}

// queue asks n times, and returns once all wait for the batch under way.
func queue(t *testing.T, ctx context.Context, l *Loop, n int) (answers chan error) {
	answers = make(chan error, n)
	for range n {
		go func() {
			_, err := l.Do(ctx, catalog.Step{})
			answers <- err
		}()
	}
	require.Eventually(t, func() bool { return len(l.queue) == n }, time.Minute, time.Millisecond)
	return answers
}

func start(t *testing.T) (slowStore, *Loop, chan error) {
	s := slowStore{begun: make(chan int, 1), proceed: make(chan struct{})}
	l := Start(s.carry, nil)
	first := make(chan error, 1)
	go func() {
		_, err := l.Do(context.Background(), catalog.Step{})
		first <- err
	}()
	require.Equal(t, 1, <-s.begun)
	return s, l, first
}

func TestWhatWaitsSharesABatch(t *testing.T) {
	s, l, first := start(t)
	waiting := queue(t, context.Background(), l, 10)
	s.proceed <- struct{}{}
	require.NoError(t, <-first)
	require.Equal(t, 10, <-s.begun)
	s.proceed <- struct{}{}
	for range 10 {
		require.NoError(t, <-waiting)
	}
	l.Close()
}

func TestACallerWhoLeavesInTheQueueIsNotServed(t *testing.T) {
	s, l, first := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	left := queue(t, ctx, l, 1)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	s.proceed <- struct{}{}
	require.NoError(t, <-first)
	l.Close()
	require.Empty(t, s.begun)
}

func TestACallerWhoLeavesDuringItsBatchMayHaveBeenServed(t *testing.T) {
	s := slowStore{begun: make(chan int, 1), proceed: make(chan struct{})}
	l := Start(s.carry, nil)
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() {
		_, err := l.Do(ctx, catalog.Step{})
		left <- err
	}()
	require.Equal(t, 1, <-s.begun)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	s.proceed <- struct{}{}
	l.Close()
}

func TestClosingServesWhoWaitsAndRefusesWhoComes(t *testing.T) {
	s, l, first := start(t)
	waiting := queue(t, context.Background(), l, 3)
	closed := make(chan struct{})
	go func() {
		l.Close()
		close(closed)
	}()
	<-l.closing
	s.proceed <- struct{}{}
	require.NoError(t, <-first)
	require.Equal(t, 3, <-s.begun)
	s.proceed <- struct{}{}
	<-closed
	for range 3 {
		require.NoError(t, <-waiting)
	}
	_, err := l.Do(context.Background(), catalog.Step{})
	require.ErrorIs(t, err, payload.Unavailable)
}

// A disk that syncs when it is told to.
type slowDisk struct {
	begun   chan struct{}
	proceed chan error
}

func (d slowDisk) sync() error {
	d.begun <- struct{}{}
	return <-d.proceed
}

func TestBatchesGoOnWhileOneIsSynced(t *testing.T) {
	d := slowDisk{begun: make(chan struct{}), proceed: make(chan error)}
	carried := make(chan int, 100)
	l := Start(func(steps []catalog.Step) []Outcome {
		carried <- len(steps)
		return make([]Outcome, len(steps))
	}, d.sync)
	ask := func(step catalog.Step) chan error {
		answer := make(chan error, 1)
		go func() {
			_, err := l.Do(context.Background(), step)
			answer <- err
		}()
		<-carried
		return answer
	}

	first := ask(catalog.Step{})
	<-d.begun
	second := ask(catalog.Step{})
	require.NoError(t, <-ask(catalog.Step{Volatile: true}), "what need not be durable waits for no sync")
	require.Empty(t, first, "the rest does")

	d.proceed <- nil
	require.NoError(t, <-first)
	<-d.begun
	require.Empty(t, second, "the first sync began before the second step was committed")
	d.proceed <- payload.Errorf(payload.Unavailable, "the disk is gone")
	require.ErrorIs(t, <-second, payload.Unavailable)
	l.Close()
}
