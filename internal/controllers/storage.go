package controllers

import (
	"context"

	"github.com/sinawi/sinawi/internal/controllers/attachdetach"
	"github.com/sinawi/sinawi/internal/controllers/ephemeralvolume"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/persistentvolume"
	"github.com/sinawi/sinawi/internal/controllers/volumeexpand"
	"github.com/sinawi/sinawi/internal/controllers/volumeprotection"
)

func (s *Set) storage(add adder) {
	add("persistentvolume", func(d loop.Deps) func(context.Context) error { return persistentvolume.New(d).Run })
	add("volumeprotection", func(d loop.Deps) func(context.Context) error { return volumeprotection.New(d).Run })
	add("ephemeralvolume", func(d loop.Deps) func(context.Context) error { return ephemeralvolume.New(d).Run })
	add("volumeexpand", func(d loop.Deps) func(context.Context) error { return volumeexpand.New(d).Run })
	add("attachdetach", func(d loop.Deps) func(context.Context) error { return attachdetach.New(d).Run })
}
