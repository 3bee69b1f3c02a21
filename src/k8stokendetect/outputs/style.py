# SPDX-License-Identifier: Apache-2.0
"""The style sheet of the HTML report: light and dark, narrow and wide, on screen and on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#17202b;--dim:#566272;--rule:#d9dee5;--soft:#eef1f5;
--s5:#b3123c;--s4:#c2410c;--s3:#946200;--s2:#1c64a8;--s1:#5b6776;--token:#6d3bbd}
@media(prefers-color-scheme:dark){:root{--bg:#10151b;--card:#19202a;--ink:#e6eaf0;--dim:#9aa7b6;--rule:#2f3946;
--soft:#222b37;--s5:#ff6b8a;--s4:#ff9457;--s3:#e9b949;--s2:#6cb2f5;--s1:#9aa7b6;--token:#b794f6}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:72rem;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .6rem}
h3{font-size:.8rem;letter-spacing:.05em;text-transform:uppercase;color:var(--dim);margin:0 0 .5rem}
p{margin:0 0 .6rem}.dim{color:var(--dim)}
a{color:inherit}
code,td:nth-child(-n+2),.chain text,.time text{
font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
code,.v,td,li,dd,summary{overflow-wrap:anywhere}
.v,td,li,dd,text{unicode-bidi:isolate}
.counts{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;margin:1rem 0;list-style:none}
.counts li{background:var(--card);border:1px solid var(--rule);border-left:4px solid;border-radius:6px;
padding:.35rem .8rem}
.counts b{font-size:1.25rem;margin-right:.35rem}
.s5{--c:var(--s5)}.s4{--c:var(--s4)}.s3{--c:var(--s3)}.s2{--c:var(--s2)}.s1{--c:var(--s1)}
.counts li{border-left-color:var(--c)}.counts b{color:var(--c)}
.tag{display:inline-block;border:1px solid var(--c);color:var(--c);border-radius:4px;padding:0 .4rem;font-size:.72rem;
font-weight:700;text-transform:uppercase;letter-spacing:.03em;white-space:nowrap}
.tag.full{background:var(--c);color:var(--card)}
nav ol{margin:0;padding:.4rem;max-height:24rem;overflow:auto;list-style:none;background:var(--card);
border:1px solid var(--rule);border-radius:8px}
nav li a{display:grid;grid-template-columns:2.4rem 7.2rem 1fr auto;gap:.6rem;padding:.25rem .4rem;text-decoration:none;
border-radius:4px;align-items:baseline}
nav li a:hover{background:var(--soft)}
nav .t{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
summary{cursor:pointer}summary:focus-visible,a:focus-visible{outline:2px solid var(--s2);outline-offset:2px}
.incident{background:var(--card);border:1px solid var(--rule);border-left:5px solid var(--c);border-radius:8px;
margin:0 0 .7rem;overflow:hidden}
.incident>summary{padding:.7rem .9rem}
.incident>summary .t{font-weight:600}
.incident>summary small{display:block;color:var(--dim);margin-top:.15rem}
.body{padding:.9rem;border-top:1px solid var(--rule);scroll-margin-top:6rem}
.body>section,.body>div>section{margin-bottom:1.3rem;min-width:0}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem 1rem;margin:0 0 1.3rem}
dt{color:var(--dim)}dd{margin:0}
.two{display:grid;grid-template-columns:minmax(0,1fr);gap:0 1.5rem}
@media(min-width:60rem){.two{grid-template-columns:minmax(0,1.15fr) minmax(0,1fr)}}
.box{overflow-x:auto;padding-bottom:.3rem}
.todo{background:var(--soft);border-radius:8px;padding:.8rem .9rem;align-self:start}
.todo ol{margin:0;padding-left:1.4rem}.todo li{margin-bottom:.35rem}
svg{display:block}svg text{font-size:12px;fill:var(--ink)}svg .note{fill:var(--dim);font-size:11px}
.time text{paint-order:stroke}.mid{text-anchor:middle}.end{text-anchor:end}
.edge{fill:none;stroke:var(--rule);stroke-width:2}
.time circle,.time rect{fill:var(--c);stroke:var(--card);stroke-width:1.5}
.chain rect{fill:var(--soft);stroke:var(--rule);stroke-width:1.5}
.chain .identity rect{stroke:var(--dim)}
.chain .token rect{stroke:var(--token);stroke-dasharray:5 3}
.chain .act rect{stroke:var(--c)}
.chain .refused rect{fill:none}
.chain .refused text{fill:var(--dim)}
.f{border-top:1px solid var(--rule)}.f>summary{padding:.4rem 0}
.f>div{padding:0 0 .8rem 1rem}
table{border-collapse:collapse;width:100%;font-size:.82rem;margin-bottom:.5rem}
td{border:1px solid var(--rule);padding:.2rem .5rem;text-align:left;vertical-align:top}
td:first-child{width:28%}td:last-child{width:26%;color:var(--dim)}
.rules>details{border-top:1px solid var(--rule);padding:.4rem 0}.rules div{padding:.4rem 0 .4rem 1rem}
@media(max-width:40rem){body{padding:1rem .6rem 2rem;font-size:14px}
nav li a{grid-template-columns:1.8rem minmax(0,1fr) auto;row-gap:0}
nav .t{grid-column:2/-1;grid-row:2;white-space:normal}
dl{grid-template-columns:minmax(0,1fr)}dd{margin-bottom:.35rem}
table,tbody,tr,td{display:block;width:100%!important}td{border-width:0 1px}
td:first-child{border-top-width:1px;font-weight:600}tr:last-child td:last-child{border-bottom-width:1px}
.f>div{padding-left:0}}
@media print{:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--dim:#444;--rule:#bbb;--soft:#f3f3f3;
--s5:#b3123c;--s4:#c2410c;--s3:#946200;--s2:#1c64a8;--s1:#5b6776;--token:#6d3bbd}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{max-width:none;padding:0;font-size:10pt}.incident{overflow:visible}
.incident::details-content,.rules>details::details-content{content-visibility:visible;height:auto;display:block}
nav ol{max-height:none;overflow:visible}.box{overflow:visible}.chain{max-width:100%;height:auto}
.two{display:block}.time,tr,li,summary{break-inside:avoid}}
"""
