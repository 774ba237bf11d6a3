// Tlogcheck reads a hanse ledger from its files alone, with the transparency log packages of the Go project,
// and fails unless checkpoint, tiles, entries and proofs are what those packages expect.
//
// Usage: tlogcheck DIR VKEY PROOF ENTRY
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tlogcheck:", err)
		os.Exit(1)
	}
}

// tree opens a signed checkpoint and reads the three lines of tlog-checkpoint.
func tree(signed []byte, vkey string) (tlog.Tree, int) {
	verifier, err := note.NewVerifier(vkey)
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		check(fmt.Errorf("not a checkpoint of %s: %q", verifier.Name(), opened.Text))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: root}, len(opened.UnverifiedSigs)
}

// tiles reads tlog-tiles paths below a directory.
type tiles struct{ dir string }

func (t tiles) Height() int { return 8 }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		// The packages put the height into the path, tlog-tiles fixes it at 8 and leaves it out.
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// entries reads every entry bundle of a tree.
func entries(dir string, size int64) [][]byte {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		width := int(min(256, size-n*256))
		path := tlog.Tile{H: 8, L: 0, N: n, W: width}.Path()
		data, err := os.ReadFile(filepath.Join(dir, "tile/entries/"+strings.TrimPrefix(path, "tile/8/0/")))
		check(err)
		for len(data) > 0 {
			length := int(binary.BigEndian.Uint16(data))
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
	}
	if int64(len(all)) != size {
		check(fmt.Errorf("%d entries in bundles, %d under the checkpoint", len(all), size))
	}
	return all
}

// proof reads a .tlog-proof file up to its checkpoint.
func proof(data []byte) (index int64, hashes tlog.RecordProof, checkpoint []byte) {
	head, checkpoint, ok := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		check(fmt.Errorf("not a tlog-proof"))
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	check(err)
	for _, line := range lines[2:] {
		raw, err := base64.StdEncoding.DecodeString(line)
		check(err)
		hashes = append(hashes, tlog.Hash(raw))
	}
	return index, hashes, checkpoint
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	check(err)
	head, unverified := tree(signed, vkey)

	// TileHashReader checks every tile it reads against the root.
	reader := tlog.TileHashReader(head, tiles{dir})
	all := entries(dir, head.N)
	for at, entry := range all {
		leaf := tlog.RecordHash(entry)
		proof, err := tlog.ProveRecord(head.N, int64(at), reader)
		check(err)
		check(tlog.CheckRecord(proof, head.N, head.Hash, int64(at), leaf))
	}
	for old := int64(1); old <= head.N; old += 1 + head.N/40 {
		root, err := tlog.TreeHash(old, reader)
		check(err)
		proof, err := tlog.ProveTree(head.N, old, reader)
		check(err)
		check(tlog.CheckTree(proof, head.N, head.Hash, old, root))
	}

	data, err := os.ReadFile(os.Args[3])
	check(err)
	entry, err := os.ReadFile(os.Args[4])
	check(err)
	index, hashes, checkpoint := proof(data)
	under, _ := tree(checkpoint, vkey)
	check(tlog.CheckRecord(hashes, under.N, under.Hash, index, tlog.RecordHash(entry)))
	if !bytes.Equal(entry, all[index]) {
		check(fmt.Errorf("entry %d is another one in its bundle", index))
	}
	fmt.Printf("%d entries, %d unknown signatures, proof of %d holds\n", head.N, unverified, index)
}
