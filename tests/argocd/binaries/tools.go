//go:build tools

// Package argocd pins the command that Argo CD is. Nothing here is compiled into a program of ours: the import
// makes `go mod tidy` keep its module, and `go build` compiles it.
package argocd

import _ "github.com/argoproj/argo-cd/v3/cmd"
